"""What a run found: as a page to read, as a document, and by an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .evidence import CHECKED, Violation
from .recovery import Recovery

SHOWN_PER_KIND = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. Times are seconds."""

    seed: int
    seconds: float
    lease_ttl_s: float
    runners: int
    processors_busy: float | None
    """The share of the machine's processor time that was used, 0 to 1."""
    acknowledged: dict[str, int]
    """Operations by workload."""
    unknown: int
    faults: dict[str, int]
    overlapping: int
    without_effect: dict[str, int]
    """Tries that struck nothing, which are not among the faults."""
    not_run: dict[str, str]
    violations: Sequence[Violation]
    looked_at: Mapping[str, int]
    """How much there was of what is not counted by operations, in words."""
    recoveries: Sequence[Recovery]
    folder: str | None = None

    @property
    def late(self) -> list[Recovery]:
        return [one for one in self.recoveries if not one.met]

    @property
    def ok(self) -> bool:
        return not self.violations and not self.late

    @property
    def verdict(self) -> str:
        return "ok" if self.ok else "NOT OK"

    def document(self) -> dict[str, Any]:
        kinds = Counter(violation.kind for violation in self.violations)
        return {
            "ok": self.ok,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "runners": self.runners,
            "lease_ttl_s": self.lease_ttl_s,
            "processors_busy": None if self.processors_busy is None else round(self.processors_busy, 2),
            "acknowledged": {"total": sum(self.acknowledged.values()), **self.acknowledged},
            "unknown": self.unknown,
            "faults": {"total": sum(self.faults.values()), "overlapping": self.overlapping, "kinds": self.faults},
            "without_effect": self.without_effect,
            "not_run": self.not_run,
            "violations": {kind: kinds[kind] for kind in CHECKED},
            "first_violations": [list(violation) for violation in first_of_each(self.violations)],
            "looked_at": dict(self.looked_at),
            "recovery_s": {
                one.fault: {
                    "entities": one.entities,
                    "p50": round(one.p50, 3),
                    "p99": round(one.p99, 3),
                    "max": round(one.longest, 3),
                    "target_p99": one.target,
                    "met": one.met,
                }
                for one in self.recoveries
            },
            "folder": self.folder,
        }

    @property
    def _used(self) -> str:
        busy = self.processors_busy
        return "how busy the machine was is not known here" if busy is None else f"the machine was {busy:.0%} busy"

    def text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        total = sum(self.acknowledged.values())
        kinds = Counter(violation.kind for violation in self.violations)
        lines = [
            f"nemesis: seed {self.seed}, {self.seconds:.0f} s, {self.runners} runners, lease {self.lease_ttl_s:g} s",
            f"  {self._used}",
            f"  {total} operations acknowledged, {self.unknown} with an unknown outcome",
            *(f"    {name:<12} {count}" for name, count in sorted(self.acknowledged.items())),
            f"  {sum(self.faults.values())} faults of {len(self.faults)} kinds, {self.overlapping} of them overlapping",
            *(f"    {name:<24} {count}" for name, count in sorted(self.faults.items())),
            *(f"    {name:<24} had no effect {n} more times" for name, n in sorted(self.without_effect.items())),
            *(f"    {name:<24} not run: {reason}" for name, reason in sorted(self.not_run.items())),
            "  checked",
            *(f"    {kind:<24} {kinds[kind] or 'none'}" for kind in CHECKED),
            *(f"    {count} {what}" for what, count in self.looked_at.items()),
            *(f"    ! {violation.kind}: {violation.what}" for violation in first_of_each(self.violations)),
        ]
        if self.recoveries:
            lines.append("  seconds until it answered again            entities     p50     p99     max  target p99")
            lines += [_recovery_line(one) for one in self.recoveries]
        lines.append(self.verdict + (f"; logs and events are in {self.folder}" if self.folder else ""))
        return lines


def _recovery_line(one: Recovery) -> str:
    target = "-" if one.target is None else f"{one.target:.1f}" + ("" if one.met else " MISSED")
    return f"    {one.fault:<38} {one.entities:>9} {one.p50:>7.2f} {one.p99:>7.2f} {one.longest:>7.2f}  {target}"


def first_of_each(violations: Sequence[Violation]) -> list[Violation]:
    """A few of each kind: the first tell more than all."""
    seen: Counter[str] = Counter()
    shown: list[Violation] = []
    for violation in violations:
        seen[violation.kind] += 1
        if seen[violation.kind] <= SHOWN_PER_KIND:
            shown.append(violation)
    return shown
