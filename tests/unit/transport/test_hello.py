"""Who may talk to whom."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError, HoldfastError, RunnerUnavailable
from holdfast.ports.transport import Identity
from holdfast.transport.hello import Hello, Refusal, RefusalKind, Welcome, answer, greeting, objection

OWN = Identity("shop", 7, "holdfast 0.1", "secret")


def test_the_same_cluster_and_token_are_welcome() -> None:
    said = answer(greeting(OWN), OWN)
    assert said == Welcome(1, "shop", 7, "holdfast 0.1")
    assert isinstance(said, Welcome) and objection(said, OWN) is None


@pytest.mark.parametrize(
    ("said", "kind", "error"),
    [
        (Hello(1, 1, "shop", token="guess"), RefusalKind.TOKEN, ConfigurationError),
        (Hello(1, 1, "other", token="secret"), RefusalKind.CLUSTER, RunnerUnavailable),
        (Hello(2, 3, "shop", token="secret"), RefusalKind.VERSION, RunnerUnavailable),
        (Hello(0, 0, "shop", token="secret"), RefusalKind.VERSION, RunnerUnavailable),
    ],
)
def test_others_are_refused_by_name(said: Hello, kind: RefusalKind, error: type[HoldfastError]) -> None:
    refusal = answer(said, OWN)
    assert isinstance(refusal, Refusal) and refusal.kind == kind
    assert type(objection(refusal, OWN)) is error


def test_a_later_version_that_still_speaks_ours_is_welcome() -> None:
    assert answer(Hello(1, 9, "shop", token="secret"), OWN) == Welcome(1, "shop", 7, "holdfast 0.1")


def test_a_refused_version_names_both_sides_and_the_remedy() -> None:
    refusal = answer(Hello(2, 3, "shop", software="holdfast 9", token="secret"), OWN)
    assert isinstance(refusal, Refusal)
    assert "1 to 1" in refusal.message and "2 to 3" in refusal.message and "upgrade the older one" in refusal.message


def test_a_wrong_token_learns_nothing() -> None:
    refusal = answer(Hello(2, 3, "other", token="guess"), OWN)
    assert isinstance(refusal, Refusal)
    assert "shop" not in refusal.message and "0.1" not in refusal.message


def test_a_listener_of_another_cluster_is_not_believed() -> None:
    assert isinstance(objection(Welcome(1, "other"), OWN), RunnerUnavailable)
    assert isinstance(objection(Welcome(2, "shop"), OWN), RunnerUnavailable)


def test_a_refusal_of_a_later_version_can_still_be_read() -> None:
    assert isinstance(objection(Refusal("of a later version", "no"), OWN), RunnerUnavailable)
