"""Which shard an entity or a job belongs to. Pure: everybody who knows the groups comes to the same number.

Each shard group is a range of numbers that no other group shares, so a number alone says the group too. A type that
nobody has declared to be elsewhere lives in the group "default".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from holdfast.errors import ConfigurationError
from holdfast.kit.hashing import shard_of

from .cluster import GroupRow

DEFAULT_GROUP = "default"


@dataclass(frozen=True, slots=True)
class ShardRange:
    """The shards of a group: `first .. first + count - 1`."""

    group: str
    first: int
    count: int

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class Placement:
    """The groups' ranges, and which group each type belongs to."""

    groups: tuple[ShardRange, ...]
    _default: ShardRange
    _by_type: Mapping[str, ShardRange] = field(repr=False)

    @classmethod
    def of(cls, groups: Iterable[GroupRow], types: Mapping[str, str] | None = None) -> Placement:
        """`types`: the group of each type that is not in the default one. Raises ConfigurationError for a group that
        the store does not know."""
        ranges = {row.name: ShardRange(row.name, row.first, row.shards) for row in groups}
        wanted = {DEFAULT_GROUP, *(types or {}).values()}
        if unknown := wanted - ranges.keys():
            raise ConfigurationError(f"the store knows no shard group {', '.join(sorted(unknown))}")
        by_type = {name: ranges[group] for name, group in (types or {}).items()}
        return cls(tuple(sorted(ranges.values(), key=_first)), ranges[DEFAULT_GROUP], by_type)

    def range_of(self, type_name: str) -> ShardRange:
        """Where entities or jobs of this type live."""
        return self._by_type.get(type_name, self._default)

    def of_entity(self, entity_type: str, entity_id: str) -> int:
        home = self._by_type.get(entity_type, self._default)
        return home.first + shard_of(entity_type, entity_id, home.count)

    def of_job(self, job_id: int, job_type: str, rules_key: str | None, rules_group: str | None) -> int:
        """With its group, else with its key, else anywhere, by its id."""
        home = self._by_type.get(job_type, self._default)
        name = rules_key if rules_group is None else rules_group
        return home.first + (job_id % home.count if name is None else shard_of(job_type, name, home.count))


def _first(found: ShardRange) -> int:
    return found.first
