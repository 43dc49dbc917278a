"""The catalogue is the one place a metric is said, and it keeps the contract of METRICS.md."""

import ast
import re
from pathlib import Path
from typing import get_type_hints

import pytest

import holdfast.metrics as door
from holdfast.metrics import (
    BOUNDARIES,
    BY_NAME,
    CATALOGUE,
    FINE_BOUNDARIES,
    LABELS,
    Kind,
    MetricSpec,
    MetricsService,
    namespaces,
)
from holdfast.metrics.meters import CLUSTER_OPERATIONS, JOB_OPERATIONS, counted_by_success

GAUGES_ENDING_IN_TOTAL = {"cluster_entities_total", "cluster_runners_total", "cluster_shards_total"}
SPACES = namespaces.Namespace.__subclasses__()

CONTRACT = """
cluster.entities gauge cluster_entities_total
cluster.runners gauge cluster_runners_total
cluster.runners_healthy gauge cluster_runners_healthy
cluster.shards gauge cluster_shards_total
cluster.shards_assigned gauge cluster_shards_assigned
cluster.messages_sent counter cluster_messages_sent_total entity_type operation
cluster.messages_received counter cluster_messages_received_total entity_type operation
cluster.redeliveries counter cluster_redeliveries_total entity_type
cluster.message_latency histogram cluster_message_latency_seconds entity_type operation
cluster.errors counter cluster_errors_total entity_type type
jobs.cancellations counter jobs_cancelled_total job_type operation priority
jobs.completions counter jobs_completed_total job_type priority
jobs.dead_lettered counter jobs_dead_lettered_total job_type reason
jobs.dlq_size gauge jobs_dlq_size job_type
jobs.duration histogram jobs_duration_seconds job_type priority
jobs.enqueued counter jobs_enqueued_total job_type operation priority
jobs.failures counter jobs_failed_total job_type reason
jobs.processing_seconds histogram jobs_processing_seconds job_type operation priority
jobs.queue_depth gauge jobs_queue_depth job_type priority
jobs.retries counter jobs_retried_total job_type reason
jobs.wait_duration histogram jobs_wait_duration_seconds job_type priority
"""
"""Sections 1 and 2 of the contract, copied by hand: dashboards of users depend on these."""


@pytest.mark.parametrize("line", CONTRACT.split("\n")[1:-1])
def test_the_names_users_depend_on_are_there(line: str) -> None:
    """Attribute, kind, exposed name and labels, as promised."""
    place, kind, name, *labels = line.split()
    spec = BY_NAME[name]
    assert (f"{spec.namespace}.{spec.attribute}", spec.kind, spec.labels) == (place, kind, tuple(labels))


def test_the_buckets_users_depend_on_are_there() -> None:
    """In seconds."""
    assert BOUNDARIES.cluster == (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5)
    assert BOUNDARIES.jobs == (0.01, 0.1, 1, 10, 100, 1000)
    assert BOUNDARIES.http == (0.001, 0.01, 0.1, 1, 10, 100)
    assert BOUNDARIES.lifetime == (1, 5, 30, 60, 300, 600, 1800, 3600)


@pytest.mark.parametrize("scale", list(BOUNDARIES.__dataclass_fields__))
def test_the_fine_preset_keeps_every_default_bound(scale: str) -> None:
    """A query that names a bound is as true after the change as before."""
    default, fine = getattr(BOUNDARIES, scale), getattr(FINE_BOUNDARIES, scale)
    assert set(default) < set(fine)
    assert list(fine) == sorted(set(fine)) and list(default) == sorted(set(default))


def test_every_instrument_has_its_annotation_and_every_annotation_its_instrument() -> None:
    """What type checkers believe about a namespace is what the catalogue makes."""
    believed = {
        (space.name, attribute): hint.__name__.lower()
        for space in SPACES
        for attribute, hint in get_type_hints(space).items()
        if attribute != "name"
    }
    said = {(spec.namespace, spec.attribute): spec.kind.value for spec in CATALOGUE if spec.namespace != "process"}
    assert believed == said


def test_the_service_has_every_namespace_of_the_catalogue() -> None:
    """And in it every instrument under its attribute."""
    metrics = MetricsService()
    for spec in CATALOGUE:
        if spec.namespace != "process":
            assert getattr(getattr(metrics, spec.namespace), spec.attribute).spec is spec


def test_names_and_attributes_are_said_once() -> None:
    """One record per metric."""
    assert len(BY_NAME) == len(CATALOGUE)
    assert len({(spec.namespace, spec.attribute) for spec in CATALOGUE}) == len(CATALOGUE)
    assert len({spec.otel_name for spec in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_metrics_are_named_as_promtool_wants(spec: MetricSpec) -> None:
    """Counters end in `_total` and nothing else does, but for three gauges; times say seconds; help is a sentence."""
    ends_in_total = spec.name.endswith("_total")
    assert ends_in_total == (spec.kind is Kind.COUNTER) or spec.name in GAUGES_ENDING_IN_TOTAL
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
    assert not re.search(r"_(milliseconds|ms|minutes|counter|gauge|histogram|bucket|sum|count)$", spec.name)
    assert spec.help.endswith(".") and spec.owner
    assert all(name in LABELS for name in spec.labels)
    assert spec.unit in ("", "seconds", "bytes")


def test_labels_are_never_ids() -> None:
    """Entity, job and shard ids, tenants and hosts have no end."""
    assert not set(LABELS) & {"id", "entity_id", "job_id", "shard", "shard_id", "tenant", "host", "runner", "key"}
    assert {label for spec in CATALOGUE for label in spec.labels} == set(LABELS)


@pytest.mark.parametrize("operation", [*CLUSTER_OPERATIONS, *JOB_OPERATIONS])
def test_what_success_counts_is_what_the_catalogue_derives(operation: str) -> None:
    """The dispatch in code and the derivation as data say the same; only accepted jobs are counted by hand."""
    derived = [spec.name for spec in CATALOGUE if spec.derived and spec.derived.operation == operation]
    counted = counted_by_success(operation)  # type: ignore[arg-type]
    assert derived == ([] if counted in (None, "jobs_enqueued_total") else [counted])


def test_a_derived_counter_has_only_labels_its_source_has() -> None:
    """And the outcome, exactly where none is chosen."""
    for spec in CATALOGUE:
        if spec.derived:
            source = BY_NAME[spec.derived.histogram]
            assert set(spec.labels) <= {*source.labels, "outcome"}
            assert ("outcome" in spec.labels) == (spec.derived.outcome is None)


def test_the_package_stands_alone() -> None:
    """It imports nothing of Holdfast, and of others only what writes the official formats."""
    folder = Path(door.__file__).parent
    modules = [
        node.module or ""
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 0
    ]
    assert not [module for module in modules if module.startswith("holdfast")]
    assert {module.split(".")[0] for module in modules} & {"prometheus_client", "msgspec"} == {"prometheus_client"}


def test_the_door_is_what_it_says() -> None:
    """Names added or lost here are a change that users notice."""
    assert set(door.__all__) == {
        "MetricsService", "BOUNDARIES", "FINE_BOUNDARIES", "Boundaries", "Preset", "CATALOGUE", "BY_NAME", "LABELS",
        "MetricSpec", "Kind", "Aggregate", "Outcome", "Counter", "Gauge", "Histogram", "CounterChild", "GaugeChild",
        "HistogramChild", "OperationMeter", "SubmitMeter", "ClusterOperation", "JobOperation", "Tracker", "Labels",
        "label", "error_tag",
    }  # fmt: skip
    assert all(hasattr(door, name) for name in door.__all__)


def test_the_reference_page_is_current() -> None:
    """It is written from the catalogue: `python -m holdfast.metrics.reference > docs/metrics.md`."""
    from holdfast.metrics.reference import page

    assert (Path(__file__).parents[3] / "docs" / "metrics.md").read_text() == page()
