"""Which shard group each declared type belongs to, and what a runner of these declarations makes of it in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.entities.entity_type import EntityType
from holdfast.jobs.definition import Job
from holdfast.model.placement import DEFAULT_GROUP


def group_of_type(entity_types: Iterable[EntityType], job_types: Iterable[Job[..., Any]]) -> dict[str, str]:
    """The shard group of each type that is not in the default one."""
    entities = {declared.name: declared.shard_group for declared in entity_types}
    jobs = {job.declared.name: job.declared.shard_group for job in job_types}
    return {name: group for name, group in (entities | jobs).items() if group != DEFAULT_GROUP}


def wanted_groups(
    entity_types: Iterable[EntityType], elsewhere: Mapping[str, str], *, shards: int
) -> dict[str, tuple[int, list[str]]]:
    """Every group that is named, with its shards if it is new, and its entity types.

    A group's shards go only to runners that know all its types, so job types are not among them: a runner that does
    not know one leaves its jobs waiting.
    """
    groups: dict[str, list[str]] = {DEFAULT_GROUP: [], **{group: [] for group in elsewhere.values()}}
    for declared in entity_types:
        groups[declared.shard_group].append(declared.name)
    return {name: (shards, sorted(types)) for name, types in groups.items()}
