"""How a running demo looks: a live table on a terminal, a line a second elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .readings import Latency, Reading


class View(Protocol):
    def show(self, found: Reading) -> None: ...

    def close(self) -> None: ...


def view_for(console: Console, *, title: str, quiet: bool) -> View:
    """The live table where it can be drawn; nothing at all with `quiet`."""
    if quiet:
        return Nothing()
    return LiveTable(console, title) if console.is_terminal else Lines(console.print, title)


class Nothing:
    def show(self, found: Reading) -> None:
        """Nobody watches."""

    def close(self) -> None:
        """Nothing was opened."""


class Lines:
    """Progress for a pipe or a log."""

    def __init__(self, write: Callable[[str], object], title: str) -> None:
        self._write = write
        write(title)

    def show(self, found: Reading) -> None:
        calls = found.latencies[0]
        self._write(
            f"{found.seconds:5.1f} s  messages {found.messages_per_s:6.0f}/s  jobs {found.jobs_per_s:5.0f}/s  "
            f"waiting {found.queue_depth}  retries {found.retries}  dead {found.dead}  "
            f"calls p50 {milliseconds(calls.p50_s)} p99 {milliseconds(calls.p99_s)}"
        )

    def close(self) -> None:
        """Every line is out already."""


class LiveTable:
    """Redrawn in place."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, found: Reading) -> None:
        self._live.update(Group(Text(self._title), _counts(found), _latencies(found.latencies)), refresh=True)

    def close(self) -> None:
        self._live.stop()


def milliseconds(seconds: float | None) -> str:
    """For people: three digits say enough."""
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def _counts(found: Reading) -> Table:
    table = Table.grid(padding=(0, 3))
    for _ in range(4):
        table.add_column()
    table.add_row("time", f"{found.seconds:.0f} s", "live entities", str(found.entities))
    table.add_row("messages", f"{found.messages_per_s:.0f}/s", "in all", str(found.messages))
    table.add_row("jobs", f"{found.jobs_per_s:.0f}/s", "in all", str(found.jobs))
    table.add_row("jobs waiting", str(found.queue_depth), "due later", str(found.due_later))
    table.add_row("job retries", str(found.retries), "redeliveries", str(found.redeliveries))
    table.add_row("dead letters", str(found.dead), "replayed", str(found.replayed))
    return table


def _latencies(latencies: tuple[Latency, ...]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("latency")
    table.add_column("p50", justify="right")
    table.add_column("p99", justify="right")
    for one in latencies:
        table.add_row(one.name, milliseconds(one.p50_s), milliseconds(one.p99_s))
    return table
