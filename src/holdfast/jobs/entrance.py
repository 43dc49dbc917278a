"""Submits of one group in the order in which they came, though their keys are looked up side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from holdfast.kit.lineup import Lineup, Place

from .call import JobCall

Group = tuple[str, str]
"""A job type and the group's name."""


class Entrance:
    """A line for each group: those whose jobs are on their way to the store."""

    def __init__(self) -> None:
        self._lineup: Lineup[Group] = Lineup()

    def come(self, calls: Iterable[JobCall[Any]]) -> Places:
        """To be entered at once, before anything is awaited; jobs without a group have nobody in front of them."""
        groups = [(call.job_type, group) for call in calls if (group := call.rules.group) is not None]
        return Places([self._lineup.come(group) for group in groups]) if groups else NO_PLACES


class Places:
    """What jobs that are stored together have in their lines: a block that leaves them at its end, if not before."""

    __slots__ = ("_places",)

    def __init__(self, places: list[Place[Group]]) -> None:
        self._places = places

    def __bool__(self) -> bool:
        return bool(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    async def first(self) -> None:
        for place in self._places:
            await place.first()

    def leave(self) -> None:
        for place in self._places:
            place.leave()


NO_PLACES = Places([])
