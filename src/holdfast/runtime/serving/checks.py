"""What of another process's durable message no store can hold: it would be refused together with others' messages.

A message that is left in the inbox unseen would be worse: whoever takes it fails, and takes it again.
"""

from __future__ import annotations

from typing import Final

from holdfast.errors import MalformedMessage
from holdfast.model.envelope import Call, Timing
from holdfast.model.storable import MOMENT_US_MAX, NUMBER_MAX, checked_word, is_word, shortened

HEADERS_BYTES_MAX: Final = 64 * 1024
"""Of the context that a message carries beside its arguments."""


def check_storable(call: Call) -> None:
    """Raises MalformedMessage. The entity's id is checked where its address is made."""
    if not 0 < call.message_id <= NUMBER_MAX:
        raise MalformedMessage(f"no message has the id {call.message_id}")
    if call.key is not None:
        checked_word("a key", call.key)
    if call.timing is not None:
        _check_timing(call.timing)
    if call.headers is not None and len(call.headers) > HEADERS_BYTES_MAX:
        raise MalformedMessage(f"headers take at most {HEADERS_BYTES_MAX} bytes, not {len(call.headers)}")


def check_names(call: Call) -> None:
    """The same for a type and a message that nothing here declares. Raises MalformedMessage."""
    for name in (call.entity_type, call.method):
        if not is_word(name) or not name.isprintable():
            raise MalformedMessage(f"nothing is called {shortened(name)}")


def _check_timing(timing: Timing) -> None:
    if timing.name is not None:
        checked_word("a timer's name", timing.name)
    for moment in (timing.delay_us, timing.due_at, timing.every_us):
        if not 0 <= moment <= MOMENT_US_MAX:
            raise MalformedMessage(f"{moment} microseconds is no time to wait for")
