"""`holdfast job` and `holdfast dead-letter` as they are typed."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from .exits import Exit
from .options import AsJson, Limit, Store, TypeName

job = App(name="job", help="Jobs in the store.")
letter = App(name="dead-letter", help="Jobs and durable messages that used up their tries.")


@job.command(name="list")
def list_jobs(
    *,
    state: Literal["live", "completed", "cancelled", "dead"] = "live",
    job_type: TypeName = None,
    limit: Limit = 100,
    after: int = 0,
    store: Store = None,
    as_json: AsJson = False,
) -> Exit:
    """Show jobs by id. Reads the store and changes nothing.

    Parameters
    ----------
    state
        Those that have not ended, or those that ended so.
    after
        Only those with a higher id.
    """
    from .jobs import show_jobs

    return show_jobs(store, state, job_type=job_type, limit=limit, after=after, as_json=as_json)


@job.command(name="show")
def show_job(job: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show all that the store knows of a job, but its arguments and result.

    Parameters
    ----------
    job
        Its id.
    """
    from .jobs import show_job

    return show_job(store, job, as_json=as_json)


@job.command(name="cancel")
def cancel_job(job: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Cancel a job: before it starts, or where it runs."""
    from .jobs import ask_job

    return ask_job(store, "cancel", job, as_json=as_json)


@job.command(name="replay")
def replay_job(job: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Submit a dead job again, with its tries ahead of it."""
    from .jobs import ask_job

    return ask_job(store, "replay", job, as_json=as_json)


@job.command(name="discard")
def discard_job(job: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Give a dead job up."""
    from .jobs import ask_job

    return ask_job(store, "discard", job, as_json=as_json)


@letter.command(name="list")
def list_letters(
    *,
    kind: Literal["job", "message"] | None = None,
    type_name: TypeName = None,
    limit: Limit = 100,
    after: int = 0,
    store: Store = None,
    as_json: AsJson = False,
) -> Exit:
    """Show dead letters that nobody has dealt with, by id.

    Parameters
    ----------
    kind
        Only jobs, or only messages.
    after
        Only those with a higher id.
    """
    from .letters import show_letters

    return show_letters(store, kind=kind, type_name=type_name, limit=limit, after=after, as_json=as_json)


@letter.command(name="replay")
def replay_letter(letter: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Try a dead job or message again, with its tries ahead of it.

    Parameters
    ----------
    letter
        Its id.
    """
    from .letters import ask_letter

    return ask_letter(store, "replay", letter, as_json=as_json)


@letter.command(name="discard")
def discard_letter(letter: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Give a dead job or message up.

    Parameters
    ----------
    letter
        Its id.
    """
    from .letters import ask_letter

    return ask_letter(store, "discard", letter, as_json=as_json)
