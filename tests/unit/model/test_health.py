"""Readiness is the conjunction of its checks, and nothing is ready by default."""

from __future__ import annotations

from holdfast.model.health import Check, Health


def test_one_failed_check_makes_it_not_ready() -> None:
    """The reasons stay in the order given."""
    store, loop = Check("store", True, ""), Check("loop", False, "stands still for 3 s")
    assert Health.of([store]).ready
    assert Health.of([store, loop]) == Health(False, (store, loop))


def test_without_checks_nothing_is_known_to_work() -> None:
    """An empty list is not good news."""
    assert not Health.of([]).ready
