"""`holdfast dead-letter`: jobs and durable messages that used up their tries, and what an operator does with them."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

from holdfast.admin import letters
from holdfast.admin.letters import Kind, LetterFacts
from holdfast.errors import JobNotFound, MessageNotFound
from holdfast.jobs.lookup import job_number
from holdfast.model.ids import JobId, MessageId
from holdfast.model.storable import shortened

from . import jobs
from .consoles import console, table
from .exits import Exit
from .plain import escaped
from .stores import check_page, opened, operator

Verb = Literal["replay", "discard"]


def show_letters(
    store: str | None, *, kind: Kind | None, type_name: str | None, limit: int, after: int, as_json: bool
) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    check_page(limit, after)
    found = asyncio.run(_letters(store, kind, type_name, limit, after))
    if as_json:
        print(json.dumps({"dead_letters": [jobs.document(one) for one in found]}))
        return Exit.OK
    listed = table("id", "kind", "what", "entity", "tries", "died", "reason", "error", right=("id", "tries"))
    for one in found:
        what, entity, error = escaped(one.name), escaped(one.entity_id or ""), escaped(one.error)[:80]
        died = jobs.shown_moment(one.died_at)
        listed.add_row(str(one.id), one.kind, what, entity, str(one.tries), died, escaped(one.reason), error)
    console().print(listed if found else "no dead letters")
    if len(found) == limit:
        print(f"the next: --after {found[-1].id}")
    return Exit.OK


def ask_letter(store: str | None, verb: Verb, letter: str, *, as_json: bool) -> Exit:
    """Raises MessageNotFound; AlreadyCancelled where somebody else was faster; RunnerUnavailable."""
    kind, new = asyncio.run(_ask(store, verb, letter))
    done = jobs.DONE[verb]
    if as_json:
        print(json.dumps({"id": letter, "kind": kind, "outcome": done, "new_id": new}))
    else:
        print(f"{kind} {_number(letter)}: {done}" + (f" as {kind} {new}" if new else ""))
    return Exit.OK


async def _letters(
    store: str | None, kind: Kind | None, type_name: str | None, limit: int, after: int
) -> list[LetterFacts]:
    async with opened(store) as found:
        return await letters.letters(found, limit=limit, after=max(after, 0), kind=kind, type_name=type_name)


async def _ask(store: str | None, verb: Verb, letter: str) -> tuple[Kind, str | None]:
    number = _number(letter)
    async with opened(store) as found:
        kind = await letters.kind_of(found, number)
    if kind == "job":
        _, new = await jobs.ask(store, verb, letter)
        return kind, new
    async with operator(store) as app:
        if verb == "replay":
            return kind, str((await app.cluster.replay(MessageId(number))).message_id)
        await app.cluster.discard(MessageId(number))
        return kind, None


def _number(letter: str) -> int:
    try:
        return job_number(JobId(letter))
    except JobNotFound:
        raise MessageNotFound(f"no dead letter has the id {shortened(letter)}") from None
