"""A durable message that fails is tried again, in its place, until it succeeds or is a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from holdfast import App, Entity, Module, Settings, message, testing
from holdfast.errors import MailboxFull, MessageDead, MessageNotFound, Suspended
from holdfast.settings import EntitySettings, RetentionSettings

from .conftest import Hosting

shop = Module()
events: list[str] = []
failing: dict[str, int] = {}


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


class _Base(Entity[Log]):
    async def work(self, line: str) -> int:
        events.append(line)
        self.state.lines.append(line)
        if failing.get(line, 0) > 0:
            failing[line] -= 1
            raise LookupError(f"{line} fails")
        return len(self.state.lines)


@shop.entity
class Queue(_Base):
    @message(durable=True, max_deliveries=4)
    async def put(self, line: str) -> int:
        return await self.work(line)

    @message(durable=True, max_deliveries=4, on_retry="step_aside")
    async def put_aside(self, line: str) -> int:
        return await self.work(line)

    @message(durable=True)
    async def mangle(self, lines: list[str]) -> list[str]:
        lines.append("mangled")
        await self.work("mangle")
        return lines

    @message(durable=True)
    async def slow(self, line: str) -> None:
        await asyncio.sleep(5)
        await self.work(line)

    @message(durable=True)
    async def hang(self) -> None:
        await asyncio.sleep(3600)

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    failing.clear()
    yield


async def test_a_failing_message_is_tried_again_later_and_leaves_no_trace_of_the_failures(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 2
        receipt = await app.ref(Queue, "q").put.send("a")
        await t.settle()
        assert events == ["a"]
        await t.clock.advance(0.5)
        assert events == ["a", "a"]
        await t.clock.advance(1)
        assert events == ["a", "a", "a"]
        assert await app.cluster.result(receipt) == 1
        assert await app.ref(Queue, "q").show() == ["a"]


async def test_a_caller_waits_through_the_retries(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        failing["a"] = 2
        assert await app.ref(Queue, "q").put("a") == 1


async def test_later_messages_wait_behind_one_that_is_tried_again(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["b"] = 2
        for line in "abcd":
            await app.ref(Queue, "q").put.send(line)
        await t.clock.advance(10)
        assert await app.ref(Queue, "q").show() == ["a", "b", "c", "d"]


async def test_messages_sent_together_wait_behind_one_that_is_tried_again(hosting: Hosting) -> None:
    """Those that waited in the mailbox already when it failed."""
    async with hosting(shop) as (app, t):
        queue = app.ref(Queue, "q")
        await queue.slow.send("0")
        failing["b"] = 2
        for line in "abcd":
            await queue.put.send(line)
        await t.clock.advance(20)
        assert await queue.show() == ["0", "a", "b", "c", "d"]


async def test_those_that_wait_behind_a_retry_are_no_more_than_the_mailbox_holds(hosting: Hosting) -> None:
    settings = Settings(entities=EntitySettings(mailbox=3))
    async with hosting(shop, settings=settings) as (app, t):
        queue = app.ref(Queue, "q")
        failing["a"] = 2
        await queue.put.send("a")
        await t.settle()
        for line in "bc":
            await queue.put.send(line)
        with pytest.raises(MailboxFull):
            await queue.put.send("d")
        assert await queue.show() == []
        await t.clock.advance(20)
        await queue.put.send("e")
        assert await queue.show() == ["a", "b", "c", "e"]


async def test_later_messages_wait_over_a_restart_too(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        queue = app.ref(Queue, "q")
        failing["a"] = 2
        for line in "abc":
            await queue.put.send(line)
        await t.settle()
        await t.crash()
        await queue.put.send("d")
        await t.clock.advance(20)
        assert await queue.show() == ["a", "b", "c", "d"]


async def test_volatile_messages_do_not_wait_behind_a_retry(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 1
        await app.ref(Queue, "q").put.send("a")
        await t.settle()
        assert await app.ref(Queue, "q").show() == []


async def test_a_message_may_step_aside(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 1
        for line in "abc":
            await app.ref(Queue, "q").put_aside.send(line)
        await t.clock.advance(10)
        assert await app.ref(Queue, "q").show() == ["b", "c", "a"]


async def test_each_try_gets_the_arguments_as_they_were_sent(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        failing["mangle"] = 2
        assert await app.ref(Queue, "q").mangle(["a"]) == ["a", "mangled"]


async def test_tries_are_counted_over_restarts(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 100
        receipt = await app.ref(Queue, "q").put.send("a")
        for _ in range(6):
            await t.restart()
            await t.clock.advance(60)
        assert events == ["a"] * 4
        with pytest.raises(MessageDead):
            await app.cluster.result(receipt)


async def test_a_message_that_used_up_its_tries_is_a_dead_letter(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _t):
        failing["a"] = 100
        with pytest.raises(MessageDead, match="failed 4 times; last: LookupError: a fails"):
            await app.ref(Queue, "q").put("a")
        (letter,) = await app.cluster.dead_letters()
        assert (letter.entity_type, letter.entity_id, letter.method) == ("Queue", "q", "put")
        assert letter.deliveries == 4 and "LookupError: a fails" in letter.error
        assert letter.arguments == ("a",)


async def test_messages_behind_a_dead_letter_go_on(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 100
        for line in "abc":
            await app.ref(Queue, "q").put.send(line)
        await t.clock.advance(60)
        assert await app.ref(Queue, "q").show() == ["b", "c"]


async def test_a_dead_letter_can_be_replayed(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 4
        receipt = await app.ref(Queue, "q").put.opts(key="k").send("a")
        await t.clock.advance(60)
        (letter,) = await app.cluster.dead_letters()
        again = await app.cluster.replay(letter.message_id)
        await t.settle()
        assert await app.cluster.result(again) == 1
        assert await app.cluster.dead_letters() == []
        assert await app.ref(Queue, "q").show() == ["a"]
        with pytest.raises(MessageNotFound):
            await app.cluster.replay(letter.message_id)
        with pytest.raises(MessageDead):
            await app.cluster.result(receipt)
        assert (await app.ref(Queue, "q").put.opts(key="k").send("a")).duplicate


async def test_a_dead_letter_can_be_discarded(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["a"] = 4
        receipt = await app.ref(Queue, "q").put.send("a")
        await t.clock.advance(60)
        (letter,) = await app.cluster.dead_letters()
        await app.cluster.discard(letter.message_id)
        assert await app.cluster.dead_letters() == []
        for act in (app.cluster.discard, app.cluster.replay):
            with pytest.raises(MessageNotFound):
                await act(letter.message_id)
        with pytest.raises(MessageDead):
            await app.cluster.result(receipt)
        assert await app.ref(Queue, "q").show() == []


async def test_dead_letters_come_in_pages_and_by_type(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        for number in range(5):
            failing[str(number)] = 100
            await app.ref(Queue, str(number)).put.send(str(number))
        await t.clock.advance(60)
        first = await app.cluster.dead_letters(limit=2)
        rest = await app.cluster.dead_letters(after=first[-1].message_id)
        assert len({letter.entity_id for letter in [*first, *rest]}) == 5
        assert len(await app.cluster.dead_letters(entity_type="Queue")) == 5
        assert await app.cluster.dead_letters(entity_type="Other") == []


async def test_a_dead_letter_waits_for_longer_than_outcomes_are_kept(hosting: Hosting) -> None:
    retention = RetentionSettings(done=100, prune_every=10)
    async with hosting(shop, settings=Settings(retention=retention)) as (app, t):
        failing["a"] = 4
        await app.ref(Queue, "q").put.send("a")
        await t.clock.advance(300)
        (letter,) = await app.cluster.dead_letters()
        await app.cluster.replay(letter.message_id)
        await t.settle()
        assert await app.ref(Queue, "q").show() == ["a"]


# Rolling upgrades: other versions' messages and states.

old, new = Module(), Module()


@old.entity(name="Doc", schema=1)
class OldDoc(Entity[Log]):
    @message(durable=True)
    async def write(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)


@new.entity(name="Doc", schema=2)
class NewDoc(Entity[Log]):
    @message(durable=True)
    async def write(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True)
    async def rewrite(self, line: str) -> int:
        self.state.lines = [line]
        return len(self.state.lines)

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines


async def as_version(module: Module, t: testing.LiveRunner) -> App:
    """The same data, served by another version of the code."""
    app = App("shop", modules=[module])
    await t.become(app)
    return app


async def test_messages_of_methods_this_version_does_not_know_are_kept_and_cost_no_try(hosting: Hosting) -> None:
    async with hosting(new) as (app, t):
        receipt = await app.ref(NewDoc, "d").rewrite.opts(delay=60).send("b")
        await as_version(old, t)
        await t.clock.advance(120)
        app = await as_version(new, t)
        await t.settle()
        assert await app.cluster.result(receipt) == 1


async def test_an_older_version_does_not_touch_a_newer_ones_state(hosting: Hosting) -> None:
    async with hosting(new) as (app, t):
        await app.ref(NewDoc, "d").write("a")
        delayed = await app.ref(NewDoc, "d").write.opts(delay=60).send("b")
        app = await as_version(old, t)
        with pytest.raises(Suspended):
            await app.ref(OldDoc, "d").write("c")
        with pytest.raises(Suspended):
            await app.ref(OldDoc, "d").write.send("c")
        await t.clock.advance(120)
        app = await as_version(new, t)
        await t.settle()
        assert await app.cluster.result(delayed) == 2
        assert await app.ref(NewDoc, "d").show() == ["a", "b"]


async def test_a_newer_version_reads_an_older_ones_state(hosting: Hosting) -> None:
    async with hosting(old) as (app, t):
        await app.ref(OldDoc, "d").write("a")
        app = await as_version(new, t)
        assert await app.ref(NewDoc, "d").show() == ["a"]


# Crashes.


async def test_a_message_that_takes_its_runner_down_is_a_dead_letter_in_the_end(hosting: Hosting) -> None:
    """Each crash while it was first in line counts; a stop in order does not."""
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Queue, "q").hang.send()
        await t.restart()
        for _ in range(3):
            await t.clock.advance(1)
            await t.crash()
        await t.settle()
        with pytest.raises(MessageDead, match="3 deaths"):
            await app.cluster.result(receipt)
        (letter,) = await app.cluster.dead_letters()
        assert letter.crashes == 3


async def test_messages_behind_the_first_are_not_to_blame(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        for line in "abc":
            await app.ref(Queue, "q").slow.send(line)
        await t.crash()
        await t.crash()
        await t.settle()
        assert await app.ref(Queue, "q").show() == ["a", "b", "c"]


async def test_suspects_run_one_at_a_time(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        for name in "abc":
            await app.ref(Queue, name).slow.send(name)
        before = t.clock.now  # the first may begin with the restart
        await t.crash()
        await t.settle()
        assert (t.clock.now - before).total_seconds() >= 15
        assert sorted(events) == ["a", "b", "c"]


async def test_the_limit_of_crashes_is_a_setting(hosting: Hosting) -> None:
    async with hosting(shop, settings=Settings(entities=EntitySettings(crashes_max=1))) as (app, t):
        receipt = await app.ref(Queue, "q").slow.send("a")
        await t.crash()
        with pytest.raises(MessageDead):
            await app.cluster.result(receipt)


async def test_a_suspect_that_fails_without_a_crash_is_no_suspect_any_more(hosting: Hosting) -> None:
    """Three deaths of a runner are not added up over tries that it has survived."""
    async with hosting(shop) as (app, t):
        failing["a"] = 3
        receipt = await app.ref(Queue, "q").slow.send("a")
        for _ in range(3):
            await asyncio.sleep(1)
            await t.crash()
            await t.clock.advance(10)  # it ends, with an error
        await t.clock.advance(60)
        assert await app.cluster.result(receipt) is None
        assert events.count("a") >= 3
