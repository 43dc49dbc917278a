"""Calls and questions that are asked until somebody answers: which may be sent again, and for how long.

A volatile call or a question is repeated inside its deadline where it surely was not executed: it had not left, or the
runner refused it because it starts, stops or is not the owner. Each time the way is looked up again, so a call follows
its entity when that moves. Where the line broke after it had left, only a question that may be asked twice is repeated;
everybody else hears that the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from holdfast.errors import (
    HoldfastError,
    MalformedMessage,
    NotStarted,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.model.envelope import Asking, Reply, Request, Result
from holdfast.model.ids import micros

from .link import NOT_EXECUTED
from .links import Link, Links

REFUSED_PAUSE_S = 0.05
"""Seconds before a runner that refused is asked again, unless the way to it changes before."""
UNREACHED_PAUSE_S = 0.25
"""The same where no runner was reached."""

Way = Callable[[], Link]
"""Looks up whom to ask now."""


class Asker:
    """Asks over the links of this process."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._closed = False

    def close(self) -> None:
        """Nothing is asked any more, or again."""
        self._closed = True

    async def ask(self, way: Way, asking: Asking, timeout_s: float, *, repeatable: bool = False) -> Reply:
        """The answer.

        Raises SendTimeout or RunnerUnavailable at the deadline, NotStarted once closed, or what it was refused with.
        """
        deadline = perf_counter() + timeout_s
        left_once, refusal = False, ""
        while True:
            if self._closed:
                raise NotStarted("this runner or client has been closed")
            link = way()
            link.open()
            peer, left_s = link.peer, deadline - perf_counter()
            if left_s <= 0:
                raise _too_late(timeout_s, left_once, refusal or link.why)
            if peer is None:
                await self.pause(min(left_s, UNREACHED_PAUSE_S))
                continue
            asking.timeout_us = micros(left_s)
            try:
                return await peer.call(asking)
            except NOT_EXECUTED as error:
                if error.executed != "no" and not repeatable:
                    raise
                refusal = str(error)
                await self.pause(min(left_s, REFUSED_PAUSE_S))
            except RpcClientError:
                if not repeatable:
                    raise
                left_once = True

    async def question(
        self, way: Way, service: str, payload: bytes, timeout_s: float, *, repeatable: bool = True
    ) -> bytes:
        """A service's answer. Raises as `ask`."""
        answer = await self.ask(way, Request(0, service, payload, 0), timeout_s, repeatable=repeatable)
        if isinstance(answer, Result):
            return answer.payload
        raise MalformedMessage(f"the runner answered {service} with {type(answer).__name__}", executed="unknown")

    async def pause(self, at_most_s: float) -> None:
        """Before whoever was not reached, or refused, is asked again: until the way to them may have changed."""
        self._links.astray()
        await self._links.changes.next(at_most_s)


def nobody_answers(way: Way) -> bool:
    """Whether whoever is to be asked was not reached, and need not be waited for."""
    link = way()
    return link.peer is None and link.unreachable


def _too_late(timeout_s: float, left_once: bool, why: str) -> HoldfastError:
    if left_once:
        return SendTimeout(f"no reply within {timeout_s:g} s: {why or 'the connection broke meanwhile'}")
    return RunnerUnavailable(f"no runner answered within {timeout_s:g} s: {why or 'it is not ready'}")
