"""What a demo came to: the last look, and whether counters and store agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console

from holdfast.admin.reconcile import Finding, disagreements
from holdfast.cli.exits import Exit

from .readings import Reading
from .view import milliseconds

SURPRISES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Summary:
    """`last`: rates are of the whole run. `surprises`: errors that customers should not have met."""

    store: str
    last: Reading
    findings: list[Finding]
    turned_away: int
    surprises: list[str]

    @property
    def exit(self) -> Exit:
        return Exit.FAILED if disagreements(self.findings) or self.surprises else Exit.OK


def as_document(summary: Summary) -> dict[str, object]:
    """For `--json`. Durations are seconds."""
    wrong = disagreements(summary.findings)
    return {
        "agrees": not wrong,
        "ok": summary.exit is Exit.OK,
        "store": summary.store,
        **asdict(summary.last),
        "turned_away": summary.turned_away,
        "surprises": summary.surprises,
        "compared": len(summary.findings),
        "disagreements": [finding._asdict() for finding in wrong],
        "findings": [finding._asdict() for finding in summary.findings],
    }


def tell(console: Console, summary: Summary) -> None:
    """For a person."""
    last = summary.last
    calls = last.latencies[0]
    console.print(
        f"\n{last.messages} messages and {last.jobs} jobs in {last.seconds:.1f} s "
        f"({last.messages_per_s:.0f} and {last.jobs_per_s:.0f} a second); "
        f"calls p50 {milliseconds(calls.p50_s)}, p99 {milliseconds(calls.p99_s)}"
    )
    console.print(
        f"{last.retries} job retries, {last.redeliveries} redeliveries, {last.dead} dead letters waiting, "
        f"{last.replayed} replayed"
    )
    if summary.turned_away:
        console.print(f"{summary.turned_away} customers were turned away: the shop was full")
    for surprise in summary.surprises[:SURPRISES_SHOWN]:
        console.print(f"unexpected: {surprise}")
    wrong = disagreements(summary.findings)
    for finding in wrong:
        console.print(f"DISAGREEMENT  {finding}")
    if wrong:
        console.print(f"{len(wrong)} of {len(summary.findings)} comparisons of counters and store disagree")
    else:
        console.print(f"counters and store agree in all {len(summary.findings)} comparisons")
