"""Rows of the cluster's tables as both dialects return them: lists of names lie there as JSON text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from holdfast.model.cluster import GroupRow, RunnerRow, ShardRow

_names = msgspec.json.Decoder(tuple[str, ...])


def packed_names(names: Iterable[str]) -> str:
    """Names as the text of a JSON list."""
    return msgspec.json.encode(list(names)).decode()


def runner_row(columns: Iterable[Any]) -> RunnerRow:
    runner_id, address, version, types, groups, *lease = columns
    return RunnerRow(runner_id, address, version, _names.decode(types), _names.decode(groups), *lease)


def group_row(columns: Iterable[Any]) -> GroupRow:
    name, first, shards, types = columns
    return GroupRow(name, first, shards, _names.decode(types))


def shard_rows(rows: Iterable[Iterable[Any]]) -> Sequence[ShardRow]:
    """By their numbers."""
    return sorted((ShardRow(*row) for row in rows), key=lambda row: row.number)


def joined(known: Iterable[GroupRow], wanted: Iterable[tuple[str, int, Iterable[str]]]) -> list[GroupRow]:
    """The groups that are known and wanted, each in a range of its own behind the ranges that are taken."""
    groups = {row.name: row for row in known}
    for name, shards, types in sorted(wanted, key=lambda group: group[0]):
        free = max((row.first + row.shards for row in groups.values()), default=0)
        row = groups.get(name, GroupRow(name, free, shards, ()))
        groups[name] = row._replace(types=tuple(sorted({*row.types, *types})))
    return sorted(groups.values(), key=lambda row: row.first)
