"""How a batch falls into layers: without a database, because it is arithmetic."""

from __future__ import annotations

from holdfast.model.message import Consume, MessageRetry, MessageRow, Take, TimerCancel
from holdfast.model.unit import Row
from holdfast.storage.postgres.batch import alone, layers
from holdfast.storage.postgres.parts import parts_of, storable

from .conftest import STATE, unit

MESSAGE = MessageRow(1, 0, "Cart", "c-1", "add", b"", b"", None, None, 0, None, 0, 0, 0, 0, None, 1, 1)


def shape(*units: tuple[Row, ...]) -> list[list[str]]:
    """The names of each layer's parts."""
    return [[part.name for part in parts_of(layer)] for layer in layers([unit(*rows) for rows in units])]


def test_a_batch_whose_rows_do_not_meet_is_one_statement() -> None:
    found = shape((MESSAGE,), (Consume(2), STATE), (Take(5), MESSAGE._replace(id=3)))
    assert found == [["message_consume", "inbox_take", "state_insert", "message_insert"]]


def test_a_batch_without_rows_is_none() -> None:
    assert shape((), ()) == []


def test_what_is_stored_and_consumed_takes_two_whatever_the_number() -> None:
    units = [rows for n in range(1, 9) for rows in ((MESSAGE._replace(id=n),), (Consume(n),))]
    assert shape(*units) == [["message_insert"], ["message_consume"]]


def test_every_version_of_a_state_takes_one() -> None:
    assert len(shape((STATE,), (STATE._replace(version=2),), (STATE._replace(version=3),))) == 3


def test_a_timer_set_anew_is_one_statement() -> None:
    again = MESSAGE._replace(name="tick")
    assert shape((Consume(5), TimerCancel("Cart", "c-1", "tick"), again)) == [
        ["message_consume", "timer_cancel", "message_insert", "message_keys_crossed"]
    ]


def test_a_timer_set_and_cancelled_afterwards_takes_two() -> None:
    assert len(shape((MESSAGE._replace(name="tick"),), (TimerCancel("Cart", "c-1", "tick"),))) == 2


def test_a_retry_and_a_cancellation_that_may_be_of_one_timer_take_two() -> None:
    retry = MessageRetry(1, 0, 5, None, 9)
    assert len(shape((retry,), (TimerCancel("Cart", "c-1", "tick"),))) == 2


def test_a_statement_looks_for_crossed_keys_only_where_some_may_cross() -> None:
    keyed = MESSAGE._replace(key="k")
    assert "message_keys_crossed" in shape((keyed,), (Consume(5),))[0]
    assert "message_keys_crossed" not in shape((Consume(5),), (keyed,))[0]
    assert "message_keys_crossed" not in shape((MESSAGE,), (Consume(5),))[0]


def test_alone_every_row_stands_in_the_order_of_writing() -> None:
    found = [[part.name for part in parts_of(layer)] for layer in alone(unit(MESSAGE, STATE, Consume(5)), 0)]
    assert found == [["message_consume"], ["state_insert"], ["message_insert"]]


def test_words_of_an_error_are_made_storable() -> None:
    assert storable("späti \x00 \ud800") == "späti \ufffd ?"
    assert storable(None) is None
