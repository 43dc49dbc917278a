"""Long loops that let other threads run.

A scrape in a thread of its own shares the interpreter with the event loop. Left alone it would keep it for the
interpreter's switch interval (5 ms), again and again. So the loops of a scrape step back after every hundred items
or so, and really sleep for a moment: a mere release would not do, because the same thread takes the interpreter back
before the other one has woken up.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import sleep
from typing import Final, TypeVar

T = TypeVar("T")

Pause = Callable[[], None]

_EVERY: Final = 100
_PAUSE_S: Final = 0.00005


def no_pause() -> None:
    """For the owner of the service, who would only wait for himself."""


def step_back() -> None:
    """Let the others run."""
    sleep(_PAUSE_S)


def paced(items: Iterable[T], pause: Pause, every: int = _EVERY) -> Iterator[list[T]]:
    """The items in chunks of so many, with a pause after each chunk."""
    source = iter(items)
    while chunk := list(islice(source, every)):
        yield chunk
        pause()
