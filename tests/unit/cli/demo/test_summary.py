"""The demo's verdict."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from holdfast.admin.reconcile import Finding
from holdfast.cli.demo.readings import reading
from holdfast.cli.demo.summary import Summary, as_document, tell
from holdfast.cli.exits import Exit

TRUE = Finding("completed", "pay/high", 9, 9)
FALSE = Finding("enqueued", "pay/high", 9, 10)


def summary(*findings: Finding, surprises: tuple[str, ...] = ()) -> Summary:
    return Summary("sqlite:////tmp/shop.db", reading({}, {}, seconds=1.0, since_s=1.0), [*findings], 0, [*surprises])


def told(found: Summary) -> str:
    text = io.StringIO()
    tell(Console(file=text, width=200), found)
    return text.getvalue()


def test_agreement_is_success() -> None:
    """With how much was compared."""
    assert summary(TRUE).exit is Exit.OK
    assert "agree in all 1 comparisons" in told(summary(TRUE))


def test_a_disagreement_fails_and_is_named() -> None:
    """In the text and in the document."""
    found = summary(TRUE, FALSE)
    assert found.exit is Exit.FAILED
    assert "DISAGREEMENT  enqueued of pay/high: counted 9 != stored 10" in told(found)
    document = json.loads(json.dumps(as_document(found)))
    assert not document["agrees"]
    (wrong,) = document["disagreements"]
    assert wrong == {"what": "enqueued", "subject": "pay/high", "counted": 9, "stored": 10, "slack": 0}


@pytest.mark.parametrize("ok", [True, False])
def test_an_error_that_customers_should_not_meet_fails_too(ok: bool) -> None:
    """Numbers that agree do not excuse it."""
    found = summary(TRUE, surprises=() if ok else ("MailboxFull: Cart/1",))
    assert (found.exit is Exit.OK, as_document(found)["ok"]) == (ok, ok)
    assert ("unexpected: MailboxFull" in told(found)) is not ok
