"""Errors arrive as what they were, and carry nothing that is nobody's business."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.errors import HandlerFailed, HoldfastError, MailboxFull, MessageError, PersistenceError, SendTimeout
from holdfast.model.envelope import Failure
from holdfast.transport.errors import KNOWN, MESSAGE_CHARS_MAX, error_of, failure_of


@pytest.mark.parametrize("kind", KNOWN.values(), ids=KNOWN)
def test_every_error_of_the_tree_arrives_as_itself(kind: type[HoldfastError]) -> None:
    error = kind("what happened")
    arrived = error_of(failure_of(error))
    assert type(arrived) is kind
    assert str(arrived) == "what happened" and arrived.reason == error.reason


def test_all_errors_are_known() -> None:
    assert {"MailboxFull", "HandlerFailed", "JobNotFound", "CallCircle", "HoldfastError"} <= set(KNOWN)
    assert KNOWN["MailboxFull"] is errors.MailboxFull


@pytest.mark.parametrize("executed", ["no", "yes", "unknown"])
def test_whether_it_ran_arrives(executed: errors.Executed) -> None:
    arrived = error_of(failure_of(SendTimeout("late", executed=executed)))
    assert isinstance(arrived, SendTimeout) and arrived.executed == executed


def test_an_undeclared_error_arrives_with_its_type_and_incident() -> None:
    arrived = error_of(failure_of(HandlerFailed("failed", error_type="KeyError", incident="i-1")))
    assert isinstance(arrived, HandlerFailed)
    assert (arrived.error_type, arrived.incident) == ("KeyError", "i-1")


def test_an_error_of_a_later_version_keeps_its_name() -> None:
    failure = Failure(1, "EntityAsleep", "it sleeps", "no")
    arrived = error_of(failure)
    assert isinstance(arrived, MessageError) and arrived.executed == "no"
    assert arrived.reason == "EntityAsleep"
    assert failure_of(arrived, correlation=1) == failure


def test_a_special_case_arrives_as_the_nearest_error_that_is_known() -> None:
    class SqliteBusy(PersistenceError):
        pass

    assert failure_of(SqliteBusy("busy")).reason == "PersistenceError"


def test_a_class_of_the_same_name_is_not_mistaken_for_ours() -> None:
    impostor = type("MailboxFull", (PersistenceError,), {})
    assert failure_of(impostor("x")).reason == "PersistenceError"


def test_nothing_of_a_foreign_error_crosses() -> None:
    failure = failure_of(KeyError("password=secret"))
    assert failure.reason == "HandlerFailed" and failure.executed == "unknown"
    assert "secret" not in str(failure) and "KeyError" not in str(failure)


def test_a_message_can_always_be_sent() -> None:
    assert len(failure_of(MailboxFull("x" * 100_000)).message) == MESSAGE_CHARS_MAX
    failure_of(MailboxFull("\ud800")).message.encode()
