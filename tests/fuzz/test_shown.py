"""Hostile names where people look: terminals and labels show them, and do nothing else with them."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.commands import execute
from holdfast.cli.plain import escaped, shown
from holdfast.metrics.label import VALUE_LENGTH_MAX, clean
from holdfast.storage.urls import masked, sqlite_path

from .effort import TIMES

HOSTILE = "\x1b]0;owned\x07\x1b[2Jx\r\n[bold]time=2026 level=info\u202e\x9b31m\x00"


@settings(max_examples=100 * TIMES, deadline=None)
@given(st.text())
def test_what_is_shown_can_be_seen(text: str) -> None:
    assert escaped(text).isprintable()
    assert all(line.isprintable() for line in shown(text).split("\n"))
    assert shown(text).count("\n") == text.count("\n")
    label = clean(text)
    assert len(label) <= VALUE_LENGTH_MAX + 3 and "\n" not in label and "\x1b" not in label


@settings(max_examples=100 * TIMES, deadline=None)
@given(st.text(min_size=1), st.text(alphabet=st.characters(exclude_characters="@:/?#"), min_size=1))
def test_no_password_is_left_in_a_masked_url(rest: str, user: str) -> None:
    """Whatever stands in it, up to the last `@`."""
    password = f"canary{rest}canary"
    url = masked(f"postgresql://{user}:{password}@host/db")
    assert "canary" not in url.removeprefix(f"postgresql://{user}")


@settings(max_examples=100 * TIMES, deadline=None)
@given(st.text())
def test_any_text_for_a_url_is_a_path_or_a_named_error(text: str) -> None:
    from holdfast.errors import ConfigurationError

    try:
        assert sqlite_path(f"sqlite:///{text}")
    except ConfigurationError as error:
        assert str(error)


@pytest.mark.parametrize(
    "words", [["status"], ["node", "list"], ["shard", "list"], ["job", "list"], ["schedule", "list"]]
)
def test_names_from_a_store_reach_no_terminal_raw(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the store could else write to its operators' screens."""
    path, url = tmp_path / "s.db", f"sqlite:///{tmp_path}/s.db"
    assert execute(["db", "migrate", "--store", url]) == 0
    with sqlite3.connect(path) as connection:
        for table in ("holdfast_runner", "holdfast_job"):
            described = connection.execute(f"PRAGMA table_info({table})").fetchall()
            row = [_value(name, kind) for _, name, kind, *_ in described]
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    capfd.readouterr()
    code = execute([*words, "--store", url])
    said = capfd.readouterr()
    assert code == 0, said.err
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
    assert execute([*words, "--store", url, "--json"]) == 0
    json.loads(capfd.readouterr().out)


def _value(name: str, kind: str) -> object:
    match kind.upper():
        case "TEXT" if name in ("types", "groups"):
            return json.dumps([HOSTILE])
        case "TEXT" if name in ("state", "wanted"):
            return "active"
        case "TEXT":
            return HOSTILE
        case "BLOB":
            return b"\x90"
        case _:
            return 1


@pytest.mark.parametrize("words", [[HOSTILE], ["run", HOSTILE], ["run", f"json:{HOSTILE}"], ["run", "a:b", HOSTILE],
    ["run", "a:b", "--loop", HOSTILE], ["status", "--store", HOSTILE], ["demo", "--for", HOSTILE]])  # fmt: skip
def test_an_odd_command_line_is_answered_in_a_line(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert execute([word.replace("\x00", "") for word in words]) == 2
    said = capfd.readouterr()
    assert said.out == "" and len(said.err.splitlines()) <= 2
    assert all(line.isprintable() for line in said.err.split("\n"))


READING = (
    ["status"], ["db", "status"], ["db", "sql"], ["node", "list"], ["shard", "list"], ["shard", "map"], ["job", "list"],
    ["job", "show"], ["dead-letter", "list"], ["schedule", "list"], ["schedule", "next"], ["verify", "metrics"],
)  # fmt: skip
OPTIONS = ("--json", "--limit", "--after", "--state", "--type", "--count", "--for", "--", "-h", "--stor")
ODD_WORDS = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "9" * 30, "nan", "1e999", "live", "http://", "http://[::1", "http://u:p@h/", HOSTILE]
    ),
    st.text(max_size=20),
)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('odd')}/s.db"
    assert execute(["db", "migrate", "--store", url]) == 0
    return url


@settings(max_examples=60 * TIMES, deadline=None)
@given(st.sampled_from(READING), st.lists(st.one_of(st.sampled_from(OPTIONS), ODD_WORDS), max_size=4))
def test_any_command_line_that_only_reads_ends_in_order(empty_store: str, words: list[str], more: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = execute([*words, "--store", empty_store, *(word.replace("\x00", "") for word in more)])
    said = err.getvalue()
    assert code in (0, 1, 2) and "Traceback" not in said
    assert (code == 0) == (said == ""), said
    assert all(line.isprintable() for line in said.split("\n"))
