"""Peers that break every rule, on a real socket of a real runner: it lives, serves the others, and stays small."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from holdfast.errors import MailboxFull
from holdfast.model.envelope import Call, Failure, Request, Result, StreamOpen, Timing
from holdfast.transport.connection import Connection
from holdfast.transport.frames import FRAME_BYTES_MAX, Envelope, FrameDecoder, encode
from holdfast.transport.hello import Hello, greeting

from .effort import TIMES, seeded
from .mutations import conversation, mutated, recorded, split
from .victim import PATIENCE_S, Victim

pytestmark = [pytest.mark.slow]

GROWTH_BYTES_MAX = 96 * 1024 * 1024
"""What a runner may take for strangers: a few unfinished frames of theirs, and what an allocator keeps."""


def hello(victim: Victim) -> bytes:
    return encode([greeting(victim.identity())])[0]


async def serves(guest: Connection, victim: Victim) -> None:
    """Somebody else's calls go on: one in memory, one that is stored."""
    for call in (victim.call("interruptions", b"\x90"), victim.call("note", b"\x91\x01", durable=True)):
        reply = await asyncio.wait_for(guest.call(call), PATIENCE_S)
        assert isinstance(reply, Result), reply


async def said(reader: asyncio.StreamReader) -> list[Envelope]:
    """All until the line ends."""
    data = b""
    with contextlib.suppress(OSError):
        data = await asyncio.wait_for(reader.read(), PATIENCE_S)
    decoder = FrameDecoder()
    found = decoder.feed(data)
    decoder.establish()
    return found + decoder.feed(b"")


async def test_conversations_gone_wrong_disturb_nobody(victim: Victim) -> None:
    rng = seeded("strangers")
    right = hello(victim) + recorded(conversation())
    async with victim.guest() as guest:
        await serves(guest, victim)
        before = victim.memory_bytes
        for number in range(150 * TIMES):
            data = mutated(right, rng) if number % 2 else hello(victim) + mutated(right[len(hello(victim)) :], rng)
            async with victim.stranger() as (_, writer):
                for piece in split(data, rng):
                    writer.write(piece)
                    await asyncio.sleep(0)
                with contextlib.suppress(OSError):
                    await writer.drain()
            if number % 50 == 0:
                await serves(guest, victim)
        await serves(guest, victim)
        assert victim.memory_bytes - before < GROWTH_BYTES_MAX


async def test_frames_that_are_only_begun_hold_no_more_than_was_sent(victim: Victim) -> None:
    async with victim.guest() as guest, contextlib.AsyncExitStack() as strangers:
        await serves(guest, victim)
        before = victim.memory_bytes
        for _ in range(50):
            _, writer = await strangers.enter_async_context(victim.stranger())
            writer.write(hello(victim) + FRAME_BYTES_MAX.to_bytes(4, "big") + bytes(10_000))
            await writer.drain()
        await serves(guest, victim)
        assert victim.memory_bytes - before < 32 * 1024 * 1024


BAD_HELLOS = {
    "another cluster": Hello(1, 1, "bank"),
    "a token where none is asked for": Hello(1, 1, "", 0, "", "secret"),
    "another version": Hello(7, 9, ""),
    "the largest names": Hello(1, 1, "\x1b[31m" * 100, 2**63 - 1, "\n" * 500, "t" * 500),
    "versions that make no sense": Hello(2**63, -(2**63), ""),
}


@pytest.mark.parametrize("greeted", BAD_HELLOS.values(), ids=BAD_HELLOS)
async def test_a_wrong_hello_is_turned_away_with_a_reason(victim: Victim, greeted: Hello) -> None:
    wanted = greeted.cluster_id or victim.cluster_id
    greeting_of = Hello(greeted.version_min, greeted.version_max, wanted, 0, greeted.software, greeted.token)
    async with victim.stranger() as (reader, writer):
        writer.write(encode([greeting_of])[0])
        (refusal,) = await said(reader)
        assert type(refusal).__name__ == "Refusal"
    async with victim.guest() as guest:
        await serves(guest, victim)


async def test_a_hello_that_comes_in_drops_is_given_up(victim: Victim) -> None:
    """A byte now and then is no sign of life: the whole greeting has its time."""
    async with victim.guest() as guest, victim.stranger() as (reader, writer):
        begun = asyncio.get_running_loop().time()
        ended = asyncio.ensure_future(said(reader))
        for byte in hello(victim)[:-1]:
            if (await asyncio.wait([ended], timeout=0.3))[0]:
                break
            writer.write(bytes([byte]))
        assert await ended == []
        assert asyncio.get_running_loop().time() - begun < PATIENCE_S
        await serves(guest, victim)


async def test_who_asks_without_end_and_reads_nothing_is_bounded(victim: Victim) -> None:
    """A client keeps to its window. Who does not is refused, and what it leaves unread is not kept for ever."""
    async with victim.guest() as guest, victim.stranger() as (_, writer):
        await serves(guest, victim)
        before = victim.memory_bytes
        writer.write(hello(victim))
        call = Call(1, "Cart", "flooded", "sleep", b"\x91\xcb\x40\xac\x20\x00\x00\x00\x00\x00", 3_600_000_000)
        with contextlib.suppress(OSError, TimeoutError):
            for number in range(60):
                writer.write(encode([Call(1000 * number + one, *_parts(call)) for one in range(1000)])[0])
                await asyncio.wait_for(writer.drain(), 5)
        await serves(guest, victim)
        assert victim.memory_bytes - before < GROWTH_BYTES_MAX


def _parts(call: Call) -> tuple[str, str, str, bytes, int]:
    return call.entity_type, call.entity_id, call.method, call.payload, call.timeout_us


async def test_calls_past_all_windows_are_refused_by_name(victim: Victim) -> None:
    async with victim.stranger() as (reader, writer), victim.guest() as guest:
        writer.write(hello(victim))
        sleeping = b"\x91\xcb\x40\xac\x20\x00\x00\x00\x00\x00"
        for number in range(12):
            calls = [Call(1000 * number + one, "Cart", "past", "sleep", sleeping, 3_600_000_000) for one in range(1000)]
            writer.write(encode(calls)[0])
            await writer.drain()
            await serves(guest, victim)  # so that it is read as a batch of its own
        refused = await _first_answer(reader)
        assert isinstance(refused, Failure)
        assert (refused.reason, refused.executed) == (MailboxFull.__name__, "no")


async def _first_answer(reader: asyncio.StreamReader) -> Envelope:
    """What comes behind the welcome."""
    decoder = FrameDecoder()
    async with asyncio.timeout(PATIENCE_S):
        while not decoder.feed(await reader.read(4096)):
            continue
        decoder.establish()
        found = decoder.feed(b"")
        while not found:
            found = decoder.feed(await reader.read(65536))
    return found[0]


BIG = 2**64 - 1
HOSTILE: dict[str, dict[str, object]] = {
    "an id beyond a column": {"message_id": BIG},
    "an id just beyond a column": {"message_id": 2**63},
    "a negative id": {"message_id": -1},
    "a NUL in the key": {"key": "a\0b"},
    "an empty key": {"key": ""},
    "a megabyte of key": {"key": "k" * 1_000_000},
    "a key of too many bytes": {"key": "\U0001f600" * 512},
    "megabytes of headers": {"headers": bytes(5_000_000)},
    "a moment beyond a column": {"timing": Timing(due_at=BIG)},
    "a moment before time": {"timing": Timing(due_at=-(2**63))},
    "a delay beyond a column": {"timing": Timing(delay_us=BIG)},
    "a period beyond a column": {"timing": Timing(every_us=BIG, name="t")},
    "a negative period": {"timing": Timing(every_us=-5, name="t")},
    "a NUL in a timer's name": {"timing": Timing(name="t\0", delay_us=10)},
    "a megabyte of a timer's name": {"timing": Timing(name="t" * 1_000_000, delay_us=10)},
    "a NUL in the entity's id": {"entity_id": "a\0"},
    "a megabyte of an entity's id": {"entity_id": "e" * 1_000_000},
    "an entity's id of too many bytes": {"entity_id": "\U0001f600" * 512},
    "no entity's id": {"entity_id": ""},
    "a type of control characters": {"entity_type": "\x1b[31mCart\n"},
    "a type with a NUL": {"entity_type": "Ca\0rt"},
    "a megabyte of a type": {"entity_type": "C" * 1_000_000},
    "a NUL in a method": {"method": "no\0te"},
    "an unknown message with a NUL in its key": {"method": "unknown", "key": "a\0b"},
    "an unknown message with an id beyond a column": {"method": "unknown", "message_id": BIG},
    "no msgpack": {"payload": b"\xc1"},
    "nothing": {"payload": b""},
    "a wrong type": {"payload": b"\x91\xa1x"},
    "a wrong number of arguments": {"payload": b"\x93\x01\x02\x03"},
    "invalid UTF-8": {"payload": b"\x91\xa2\xff\xfe"},
    "not a number": {"payload": b"\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"},
    "a deep nest": {"payload": b"\x91" * 900_000 + b"\x01"},
    "a long array that is only claimed": {"payload": b"\xdd\xff\xff\xff\xff"},
    "two megabytes": {"payload": b"\x91\xc6" + (2_000_000).to_bytes(4, "big") + bytes(2_000_000)},
}


@pytest.mark.parametrize("wrong", HOSTILE.values(), ids=HOSTILE)
async def test_a_message_that_no_store_can_hold_is_refused_alone(victim: Victim, wrong: dict[str, object]) -> None:
    """With a name, while the line lives and what was sent in the same frame by others is stored."""
    async with victim.guest() as guest:
        known: dict[str, object] = {
            "correlation": 0, "entity_type": "Cart", "entity_id": "bad", "method": "note", "payload": b"\x91\x01",
            "timeout_us": 20_000_000, "message_id": victim.call("note", b"", durable=True).message_id,
        }  # fmt: skip
        bad = guest.call(Call(**{**known, **wrong}))  # type: ignore[arg-type]
        calls = [guest.call(victim.call("note", b"\x91\x01", entity_id=f"{n}", durable=True)) for n in range(3)]
        refused, *good = await asyncio.gather(bad, *calls, return_exceptions=True)
        assert isinstance(refused, Exception), refused
        assert type(refused).__name__ in ("MalformedMessage", "EntityNotAssignedToRunner"), repr(refused)[:300]
        assert getattr(refused, "executed", None) == "no"
        assert len(str(refused)) < 1000
        assert all(isinstance(reply, Result) for reply in good)
        assert guest.open


DOUBLE = b"\xa6double"


def submit(job_type: bytes, priority: bytes, *, number: bytes = b"\x01", key: bytes = b"\xc0") -> bytes:
    """An order of one job, as it travels."""
    return b"\x91\x91\x99" + number + job_type + b"\xc4\x02\x91\x01" + priority + bytes(4) + key


QUESTIONS: dict[str, tuple[str, bytes]] = {
    "an unknown service": ("no.such", b""),
    "no msgpack": ("jobs.status", b"\xc1"),
    "an id beyond a column": ("jobs.status", b"\x91\xb39999999999999999999"),
    "a message beyond a column": ("messages.outcome", b"\x92\xcf" + b"\xff" * 8 + b"\x00"),
    "an inbox beyond a column": ("jobs.status", b"\x92\xa11\xcf" + b"\xff" * 8),
    "a negative limit": ("messages.dead_letters", b"\x91\xd3" + b"\x80" + bytes(7)),
    "a job with a NUL in its key": ("jobs.submit", submit(DOUBLE, b"\x02", key=b"\xa2a\x00")),
    "a job beyond a column": ("jobs.submit", submit(DOUBLE, b"\x02", number=b"\xcf" + b"\xff" * 8)),
    "a job of an unknown priority": ("jobs.submit", submit(DOUBLE, b"\xcc\xff")),
    "a job of a type with a NUL": ("jobs.submit", submit(b"\xa4no\x00e", b"\x02")),
    "a deep nest": ("messages.broadcast", b"\x91" * 500_000),
}  # fmt: skip


@pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_question_that_makes_no_sense_has_an_error_for_an_answer(
    victim: Victim, asked: tuple[str, bytes]
) -> None:
    async with victim.guest() as guest:
        answer = await asyncio.gather(guest.call(Request(0, *asked, 20_000_000)), return_exceptions=True)
        assert isinstance(answer[0], Exception), answer[0]
        assert "internal error" not in str(answer[0])
        await serves(guest, victim)


async def test_streams_with_odd_credits_end_as_others_do(victim: Victim) -> None:
    async with victim.guest() as guest:
        for credit in (-1, 0, 2**62):
            opening = StreamOpen(0, "Feed", "f", "lines", b"\x91\x05", credit)
            stream = guest.stream(opening)
            assert len([item async for item in stream]) == 5
        await serves(guest, victim)
