"""Migrations as data: numbered steps with checksums, and which of them a store still lacks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from holdfast.errors import SchemaMismatch, StoreUnavailable

_FILE = re.compile(r"^(?P<number>\d{4})_(?P<title>[a-z0-9_]+)\.sql$")


class Step(NamedTuple):
    """One migration as this version ships it."""

    number: int
    name: str
    checksum: str
    sql: str


class Applied(NamedTuple):
    """One migration as a store has recorded it."""

    number: int
    name: str
    checksum: str
    applied_at: int


def load_steps(package: str) -> list[Step]:
    """The steps of a dialect, in order. Raises ValueError unless their numbers are 1, 2, 3..."""
    found: list[Step] = []
    for file in files(package).iterdir():
        if match := _FILE.match(file.name):
            sql = file.read_text(encoding="utf-8")
            name = file.name.removesuffix(".sql")
            found.append(Step(int(match["number"]), name, hashlib.sha256(sql.encode()).hexdigest(), sql))
    found.sort()
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{package}: migrations are numbered 1, 2, 3..., not {[step.number for step in found]}")
    return found


def pending_steps(known: Sequence[Step], applied: Sequence[Applied]) -> list[Step]:
    """What a store lacks.

    Raises SchemaMismatch when it has seen steps that this version does not know, or other ones under their names.
    """
    for step, record in zip(known, applied, strict=False):
        if (step.number, step.checksum) != (record.number, record.checksum):
            raise SchemaMismatch(
                f"the store's migration {record.name} is not the {step.name} of this version: "
                "it was altered, or applied by another build"
            )
    if len(applied) > len(known):
        newer = applied[len(known)].name
        raise SchemaMismatch(f"the store was written by a newer version (migration {newer}); upgrade this one")
    return list(known[len(applied) :])


def check_steps(known: Sequence[Step], applied: Sequence[Applied], store: str) -> None:
    """Whether a store is there, and its schema exactly this version's.

    Raises StoreUnavailable, which names the `store`, and SchemaMismatch.
    """
    if not applied:
        raise no_store(store)
    if missing := pending_steps(known, applied):
        raise SchemaMismatch(f"the store lacks the migration {missing[0].name}; run `holdfast db migrate`")


def no_store(store: str) -> StoreUnavailable:
    """What whoever only uses stores, and makes none, is told."""
    return StoreUnavailable(f"{store} holds no store yet; `holdfast run` or `holdfast db migrate` makes one")
