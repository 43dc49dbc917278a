"""A log line is one line of key=value pairs, whatever is logged."""

from __future__ import annotations

import logging
import shlex
import sys

import pytest

from holdfast.cli.logs import KeyValueFormatter, quoted


def line(message: str, *args: object, error: BaseException | None = None, **extra: object) -> str:
    found = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("holdfast.runtime", logging.WARNING, __file__, 1, message, args, found)
    vars(record).update(extra)
    return KeyValueFormatter().format(record)


def test_a_record_is_its_facts_in_a_fixed_order() -> None:
    """Time in UTC with milliseconds, level, logger, message, then what was given as extra."""
    text = line("runner %d serves", 7, store="sqlite:////srv/a.db", tries=3)
    moment, rest = text.split(" ", 1)
    assert moment.startswith("time=20") and moment.endswith("Z")
    assert rest == ('level=warning logger=holdfast.runtime msg="runner 7 serves" store=sqlite:////srv/a.db tries=3')


def test_a_traceback_follows_on_its_own_lines() -> None:
    """The first line stays whole for whoever splits it."""
    try:
        raise OSError("disk full")
    except OSError as error:
        first, *more = line("a commit failed", error=error).splitlines()
    assert first.endswith('msg="a commit failed"')
    assert more[0].startswith("  Traceback") and more[-1] == "  OSError: disk full"


def test_an_errors_message_can_not_pass_for_a_record() -> None:
    """A record begins at the margin; nothing that a message holds does, nor does it reach a terminal's controls."""
    forged = "no\ntime=2026-01-01T00:00:00.000Z level=info msg=paid\r\x1b[2Jtime=x\x85time=y"
    try:
        raise ValueError(forged)
    except ValueError as error:
        first, *more = line("it failed", error=error).split("\n")
    assert first.startswith("time=") and more
    assert all(one.startswith("  ") and one.isprintable() for one in more)


@pytest.mark.parametrize(
    "value", ["plain", "two words", 'a "quoted" word', "a=b", "back\\slash", "new\nline", "", "tab\there", "\x1b[31m"]
)
def test_no_value_breaks_a_line_or_out_of_its_quotes(value: str) -> None:
    """What users put into their errors can't forge further pairs or lines."""
    text = quoted(value)
    assert text.isprintable() and "\n" not in text
    assert len(shlex.split(f"msg={text}")) == 1


def test_the_root_logger_writes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is for results."""
    from holdfast.cli.logs import log_to_stderr

    root = logging.getLogger()
    handlers, level, chatty = root.handlers[:], root.level, logging.getLogger("uvicorn").level
    try:
        log_to_stderr("info")
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        assert (handler.stream, root.level) == (sys.stderr, logging.INFO)
    finally:
        root.handlers[:], root.level = handlers, level
        logging.getLogger("uvicorn").setLevel(chatty)
