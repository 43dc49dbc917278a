"""`holdfast` as it is typed, in a process of its own that has its imports done."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import holdfast.cli.jobs
import holdfast.cli.letters
import holdfast.cli.nodes
import holdfast.cli.schedules
import holdfast.cli.status
import holdfast.storage.postgres.store
from holdfast.cli.commands import execute

from .nursery import Nursery


def holdfast(*words: str, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Runs a command to its end; `environment` is all of it, where it is not this process's."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        typed = Nursery.of(__name__)
        typed.bear(str(out), str(err), *words, environment=environment)
        return CompletedProcess(words, typed.ended(), out.read_text(), err.read_text())


def main(out: str, err: str, *words: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.exit(execute(words))
