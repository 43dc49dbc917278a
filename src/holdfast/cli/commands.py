"""The commands as they are typed: names, options and help. What they do stands in the modules they import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from .cluster_commands import node, shard
from .exits import Exit
from .options import AsJson, Store
from .plain import shown
from .work_commands import job, letter

LogLevel = Literal["debug", "info", "warning", "error"]


def _version() -> str:
    from importlib.metadata import version

    return version("holdfast")


app = App(
    name="holdfast",
    help="Sharded entities, durable jobs and truthful metrics.",
    help_epilogue="Exit codes: 0 ok, 1 failed or disagreement, 2 wrong usage or configuration.",
    help_format="plaintext",
    version=_version,
    version_flags=["--version"],
    result_action="return_value",
)
database = App(name="db", help="The store's schema.")
app.command(database)
verify = App(name="verify", help="Proof by faults, on this machine or on your own database.")
app.command(verify)
schedules = App(name="schedule", help="Jobs by the clock.")
app.command(schedules)
for group in (node, shard, job, letter):
    app.command(group)


@app.command
def run(
    target: str,
    /,
    *,
    store: Store = None,
    http: str | None = None,
    gateway: str | None = None,
    listen: str | None = None,
    advertise: str | None = None,
    runners: int = 1,
    loop: Literal["uvloop", "asyncio"] = "uvloop",
    log_level: LogLevel = "info",
) -> Exit:
    """Host the entities and run the jobs of an App until SIGTERM or SIGINT.

    The first signal drains: nothing new is taken, what runs may end. The second one stops at once. An embedded store
    is made and migrated where needed.

    Parameters
    ----------
    target
        Where the App is, as module:attribute; modules are looked for in the working directory too.
    store
        URL of the store; else HOLDFAST_STORE, else pyproject.toml, else sqlite:///<app>.db.
    http
        HOST:PORT for /livez, /readyz and /metrics; else HOLDFAST_HTTP, else pyproject.toml, else none.
    gateway
        HOST:PORT of the HTTP gateway for programs in other languages, with the token HOLDFAST_GATEWAY_TOKEN; else
        HOLDFAST_GATEWAY, else pyproject.toml, else none. Beyond the loopback it needs TLS.
    listen
        HOST:PORT where other processes reach this runner (PostgreSQL); else HOLDFAST_LISTEN, else pyproject.toml,
        else a free port for this machine alone. Beyond the loopback it needs TLS and a token.
    advertise
        HOST:PORT that the others are told, where it is another one; else HOLDFAST_ADVERTISE.
    runners
        Processes to run on this machine, one for each core (PostgreSQL); --http then serves all of them together.
    loop
        The event loop.
    log_level
        What is logged, to standard error.
    """
    from .running import RunArguments, run_app

    arguments = RunArguments(store=store, http=http, gateway=gateway, listen=listen, advertise=advertise)
    return run_app(target, arguments, runners=runners, loop=loop, log_level=log_level)


@app.command
def status(*, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show runners, shards and what the store counts. Reads the store and changes nothing."""
    from .status import show_status

    return show_status(store, as_json=as_json)


@app.command
def demo(
    *,
    seconds: Annotated[float | None, Parameter(name="--for")] = None,
    rate: float = 40.0,
    http: str = "127.0.0.1:0",
    store: str | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Run a shop under steady load, watch it, and compare its counters with its store at the end.

    Parameters
    ----------
    seconds
        How long; without it until interrupted.
    rate
        Customers a second.
    http
        HOST:PORT for /metrics.
    store
        URL of a store to use and keep; else a temporary SQLite file.
    """
    from .demo.show import run_demo

    return run_demo(seconds=seconds, rate=rate, http=http, store=store, as_json=as_json)


@database.command
def migrate(*, store: Store = None) -> Exit:
    """Apply the migrations that a store lacks."""
    from .database import migrate_store

    return migrate_store(store)


@database.command(name="status")
def database_status(*, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show the migrations that a store has seen and lacks; exits with 1 where some are missing."""
    from .database import show_migrations

    return show_migrations(store, as_json=as_json)


@database.command
def sql(*, store: Store = None) -> Exit:
    """Print the SQL of the migrations that a store lacks, and apply nothing."""
    from .database import print_sql

    return print_sql(store)


@verify.command
def simulate(
    *,
    seeds: int = 600,
    seed: int | None = None,
    first: int = 0,
    processes: int | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Run the real engines in simulated worlds: runners, store and network fail as a seed says, in virtual time.

    Exits with 1 where a seed violates a promise; the seed is then made smaller and shown, with the command that
    replays it. The same seed is the same run, event by event, on any machine.

    Parameters
    ----------
    seeds
        How many.
    seed
        Only this one.
    first
        Where they begin.
    processes
        How many at the same time; else one for each core.
    """
    from .simulating import run_simulation

    return run_simulation(seeds=seeds, seed=seed, first=first, processes=processes, as_json=as_json)


@verify.command
def nemesis(
    *,
    minutes: float = 1.0,
    seed: int | None = None,
    runners: int = 3,
    clients: int = 1,
    lease: float = 6.0,
    pace: float = 2.0,
    pause: float = 0.02,
    overlapping: int = 3,
    fault: Annotated[list[str] | None, Parameter(negative="")] = None,
    store: str | None = None,
    timeline: Path | None = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> Exit:
    """Break a cluster again and again while it works, and check that it kept its promises.

    Runners and clients are processes of this machine; for root, runners are in network namespaces, and the store is on
    a small disk. What can't be had here is said. Exits with 1 where anything was lost, doubled, stale, or too late.

    Parameters
    ----------
    minutes
        How long there are faults.
    seed
        Which faults, when; else a new one, which the report names.
    runners
        Runner processes.
    clients
        Client processes, beside the one that measures.
    lease
        Seconds of a runner's lease.
    pace
        Seconds from one fault to the next, about.
    pause
        Seconds between two operations of a sender: the shorter, the harder clients press. The report says how much of
        the machine that took.
    overlapping
        How many may be there at once.
    fault
        Only this kind of fault; may be repeated.
    store
        postgresql://... of a server to use, in a schema of its own. Else one is made, and harmed too.
    timeline
        File for a picture of the run, as SVG.
    keep
        Keep logs and what clients saw, and say where.
    """
    from .loading import require_extra

    require_extra("verify", "asyncpg")
    from .verifying import run_nemesis

    return run_nemesis(
        minutes=minutes, seed=seed, runners=runners, clients=clients, lease=lease, pace=pace, pause=pause,
        overlapping=overlapping, faults=fault or (), store=store, timeline=timeline, keep=keep, as_json=as_json,
    )  # fmt: skip


@verify.command(name="metrics")
def reconcile_metrics(
    *pages: str,
    seconds: Annotated[float, Parameter(name="--for")] = 10.0,
    store: Store = None,
    as_json: AsJson = False,
) -> Exit:
    """Compare what running runners count with the rows of their store, and exit with 1 where they disagree.

    Harmless: it reads the pages and the store twice and compares what happened in between. The token of the pages is
    read from HOLDFAST_HTTP_TOKEN.

    Parameters
    ----------
    pages
        The /metrics of every runner, or of the supervisor that adds them up; else HOLDFAST_HTTP or pyproject.toml.
    seconds
        How long between the two readings.
    """
    from .verifying_metrics import verify_metrics

    return verify_metrics(store, pages, seconds=seconds, as_json=as_json)


@schedules.command(name="list")
def list_schedules(*, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show the schedules that a runner of the store has declared. Reads the store and changes nothing."""
    from .schedules import show_schedules

    return show_schedules(store, as_json=as_json)


@schedules.command(name="next")
def next_occurrences(name: str, /, *, count: int = 5, store: Store = None, as_json: AsJson = False) -> Exit:
    """Show when a schedule comes due next, by its expression.

    Parameters
    ----------
    name
        The schedule.
    count
        How many occurrences.
    """
    from .schedules import show_next

    return show_next(store, name, count=count, as_json=as_json)


@schedules.command(name="pause")
def pause_schedule(name: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Let a schedule fire nothing until it is resumed."""
    from .schedules import ask_schedule

    return ask_schedule(store, "pause", name, as_json=as_json)


@schedules.command(name="resume")
def resume_schedule(name: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Let a paused schedule fire again, from its next occurrence on."""
    from .schedules import ask_schedule

    return ask_schedule(store, "resume", name, as_json=as_json)


@schedules.command(name="run")
def run_schedule(name: str, /, *, store: Store = None, as_json: AsJson = False) -> Exit:
    """Submit a schedule's job now, besides its times."""
    from .schedules import ask_schedule

    return ask_schedule(store, "run", name, as_json=as_json)


def execute(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code; what the user can fix is told in a line, without a traceback."""
    try:
        outcome = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"holdfast: {_complaint(error, arguments)}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.FAILED
    except Exception as error:
        code = _code_of(error)
        if code is None:
            raise
        print(f"holdfast: {shown(str(error))}", file=sys.stderr)
        return code
    return outcome if isinstance(outcome, Exit) else Exit.OK


def _complaint(error: CycloptsError, arguments: Sequence[str]) -> str:
    """What is wrong with a command line; it may quote an argument, and that may be a URL with a password."""
    from holdfast.storage.urls import masked

    text = str(error)
    for argument in arguments:
        if "@" in argument:
            value = argument.partition("=")[2] if argument.startswith("--") else argument
            text = text.replace(value, masked(value)).replace(repr(value)[1:-1], masked(value))
    return shown(text)


def _code_of(error: Exception) -> Exit | None:
    from holdfast.errors import ConfigurationError, HoldfastError

    if isinstance(error, ConfigurationError):
        return Exit.USAGE
    return Exit.FAILED if isinstance(error, HoldfastError) else None
