"""The places where attempts run: on the loop, in threads, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.kit.tasks import TaskOwner

from .attempt import Attempt
from .execution import Ended, LoopSlots
from .job_type import Lane
from .processes import ProcessSlots
from .surroundings import Surroundings
from .threads import ThreadSlots


class Slots:
    """Those of all lanes."""

    def __init__(
        self, around: Surroundings, *, tasks: TaskOwner, ended: Ended, freed: Callable[[Attempt], None]
    ) -> None:
        """`ended` hears of every attempt once, `freed` each time a slot has nothing to run any more."""
        self._loop = LoopSlots(
            around,
            ended=ended,
            freed=freed,
            start_task=lambda serve, name: tasks.start(serve, name=name),
            context=around.context,
        )
        self._threads = ThreadSlots(around, ended=ended, freed=freed, context=around.context)
        self._processes = ProcessSlots(
            around,
            ended=ended,
            freed=freed,
            start_task=lambda run, name: tasks.start(run, name=name),
        )

    def run(self, attempts: list[Attempt]) -> None:
        """Takes attempts whose start record is on disk."""
        for attempt in attempts:
            match attempt.held.declared.lane:
                case Lane.LOOP:
                    self._loop.run(attempt)
                case Lane.THREAD:
                    self._threads.run(attempt)
                case Lane.PROCESS:
                    self._processes.run(attempt)

    async def close(self) -> None:
        """From here on what is cancelled has no end."""
        self._loop.close()
        self._threads.close()
        await self._processes.close()
