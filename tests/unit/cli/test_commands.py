"""What a command line means: exit codes, messages without tracebacks, and a start that loads little."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast.cli.commands import execute
from holdfast.cli.exits import Exit
from holdfast.runtime.config import STORE_VARIABLE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No project and no environment that would name a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STORE_VARIABLE, raising=False)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["db", "--help"], ["--version"]])
def test_asking_for_help_is_no_failure(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the answer goes to standard output."""
    assert execute(words) == Exit.OK
    assert capsys.readouterr().out


def test_the_exit_codes_are_told_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Who writes a script looks there."""
    execute(["--help"])
    assert "0 ok, 1 failed or disagreement, 2 wrong usage or configuration" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["run"],
        ["run", "shop:app", "--no-such-option"],
        ["run", "shop:app", "--loop", "trio"],
        ["demo", "--for", "soon"],
        ["demo", "--for", "0"],
        ["demo", "--rate", "0"],
        ["demo", "--store", "memory:"],
        ["demo", "--for", "1", "--http", "nowhere"],
        ["run", "no_such_module_anywhere:app"],
        ["status"],
        ["db", "migrate"],
        ["db", "migrate", "--store", "memory:"],
        ["status", "--store", "mysql://db/shop"],
        ["status", "--store", "sqlite:///not-there.db"],
    ],
)
def test_what_the_user_can_fix_ends_with_2_and_no_traceback(
    words: Sequence[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One message on standard error; nothing is made on the disk."""
    assert execute(words) == Exit.USAGE
    seen = capsys.readouterr()
    assert seen.err.strip() and "Traceback" not in seen.err
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """Error messages end up in logs."""
    execute(["status", "--store", "mysql://me:hunter2@db/shop"])
    assert "hunter2" not in capsys.readouterr().err


def test_a_store_is_looked_at_migrated_and_looked_at_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`db status` fails while migrations are missing; the store may come from the environment."""
    monkeypatch.setenv(STORE_VARIABLE, "sqlite:///shop.db")
    assert execute(["db", "status"]) == Exit.FAILED
    assert "missing  0001_first_tables" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert execute(["db", "sql"]) == Exit.OK
    assert "CREATE TABLE holdfast_job" in capsys.readouterr().out
    assert execute(["db", "migrate"]) == Exit.OK
    assert "applied 0001_first_tables" in capsys.readouterr().out
    assert execute(["db", "status", "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert found["pending"] == [] and found["applied"][0]["name"] == "0001_first_tables"
    assert execute(["db", "sql"]) == Exit.OK
    assert capsys.readouterr().out == ""


def test_the_status_of_a_fresh_store_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has run on it yet."""
    execute(["db", "migrate", "--store", "sqlite:///shop.db"])
    capsys.readouterr()
    assert execute(["status", "--store", "sqlite:///shop.db", "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["runners"], found["jobs"], found["messages"], found["shards"]["count"]) == ([], [], [], 0)
    assert execute(["status", "--store", "sqlite:///shop.db"]) == Exit.OK
    assert "no runner" in capsys.readouterr().out


def test_help_loads_neither_a_store_nor_a_server() -> None:
    """What a command needs is imported when it runs."""
    program = """
import sys
from holdfast.cli.commands import execute
execute(["--help"])
heavy = {"uvicorn", "starlette", "uvloop", "jinja2", "holdfast.cli.running", "holdfast.cli.demo.show"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
