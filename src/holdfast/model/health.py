"""What a process says about itself to those who route work to it.

Alive means that the process answers at all; ready means that it makes progress with its work. A runner that is alive
and not ready is left alone until it is ready again; only one that is not alive is worth killing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Check(NamedTuple):
    """One thing that readiness depends on; `detail` is for the operator who reads it at night."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """Ready or not, and why."""

    ready: bool
    checks: tuple[Check, ...] = ()

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Health:
        """Ready when every check is; with no checks at all nothing is known to work, so not ready."""
        checks = tuple(checks)
        return cls(bool(checks) and all(check.ok for check in checks), checks)
