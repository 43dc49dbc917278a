"""Scrapes: both formats, both ways out, and what happens when something cannot be read."""

import threading
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client import Counter as TheirCounter
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from holdfast.metrics import CATALOGUE, Kind, MetricsService, label, scrape
from holdfast.metrics.exposition import family_name

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
ODD_VALUES = ('quo"te', "back\\new", "end\\", 'a",type="b', "{}%s", "é☃", "", "plain")

Parse = Callable[[str], Iterable[Metric]]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def filled(registry: CollectorRegistry | None = None) -> MetricsService:
    """Something in every metric of the catalogue, with values that are hard to write."""
    metrics = MetricsService(registry)
    for number, instrument in enumerate(metrics.instruments()):
        if instrument.spec.namespace == "service":
            continue
        names = instrument.spec.labels
        for shift in range(len(ODD_VALUES) if names else 1):
            labels = {name: ODD_VALUES[(shift + at) % len(ODD_VALUES)] for at, name in enumerate(names)}
            match instrument.spec.kind:
                case Kind.COUNTER:
                    metrics.inc(instrument, label(labels), number + shift / 4)  # type: ignore[arg-type]
                case Kind.GAUGE:
                    metrics.set(instrument, label(labels), (float("inf"), -1.5e300, float("-inf"), 3)[shift % 4])  # type: ignore[arg-type]
                case Kind.HISTOGRAM:
                    metrics.observe(instrument, label(labels), 0.03 * number)  # type: ignore[arg-type]
    return metrics


def samples(families: Iterable[Metric]) -> Samples:
    """Everything but the scrape's own time and the process, which differ from one scrape to the next."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        if not family.name.startswith(("metrics_collect_seconds", "metrics_series", "process_"))
        for sample in family.samples
    }


def kinds(families: Iterable[Metric]) -> dict[str, tuple[str, str, str]]:
    return {family.name: (family.type, family.documentation, family.unit) for family in families}


def ours(metrics: MetricsService, accept: str | None = None) -> str:
    return metrics.exposition(accept)[1].decode()


def test_both_ways_out_and_the_snapshot_agree_on_every_sample() -> None:
    """Our text, our OpenMetrics, prometheus-client's of each, and what `snapshot` says."""
    metrics = filled()
    own_text = samples(parse_text(ours(metrics)))
    assert len(own_text) > 500
    assert own_text == samples(parse_openmetrics(ours(metrics, OPENMETRICS)))
    assert own_text == samples(parse_text(generate_latest(metrics.registry).decode()))
    assert own_text == samples(parse_openmetrics(generate_openmetrics(metrics.registry).decode()))
    skipped = ("metrics_collect_seconds", "metrics_series")
    assert own_text == {key: value for key, value in metrics.snapshot().items() if not key[0].startswith(skipped)}


def test_both_writers_say_the_same_about_each_family() -> None:
    """Name, kind, help and unit."""
    metrics = filled()
    theirs = generate_latest(metrics.registry).decode(), generate_openmetrics(metrics.registry).decode()
    assert kinds(parse_text(ours(metrics))) == kinds(parse_text(theirs[0]))
    assert kinds(parse_openmetrics(ours(metrics, OPENMETRICS))) == kinds(parse_openmetrics(theirs[1]))


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize(("accept", "parse"), [(TEXT, parse_text), (OPENMETRICS, parse_openmetrics)])
def test_each_odd_value_alone_is_written_right(value: str, accept: str, parse: Parse) -> None:
    """Beside nothing else that would make the writer careful."""
    metrics = MetricsService(CollectorRegistry())
    metrics.inc(metrics.jobs.timeouts, label(job_type=value))
    found = {sample.name: sample.labels for family in parse(ours(metrics, accept)) for sample in family.samples}
    assert found["jobs_timeouts_total"] == dict(label(job_type=value))


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_gauges_that_end_in_total_are_gauges_and_counters_have_one_total(accept: str) -> None:
    """The names of the contract, in both formats."""
    body = ours(filled(), accept)
    assert "# TYPE cluster_entities_total gauge\n" in body
    assert "\ncluster_entities_total +Inf\n" in body
    assert "_total_total" not in body
    family = "jobs_enqueued" if accept == OPENMETRICS else "jobs_enqueued_total"
    assert f"# TYPE {family} counter\n" in body
    assert "\njobs_enqueued_total{" in body


def test_every_metric_of_the_catalogue_can_be_scraped() -> None:
    """Those of the process come from prometheus-client, under the catalogued names."""
    metrics = filled()
    metrics.service.overflow.labels(metric="x").inc()
    metrics.service.collector_errors.labels(collector="x").inc()
    shown = {name: kind for name, (kind, _help, _unit) in kinds(parse_openmetrics(ours(metrics, OPENMETRICS))).items()}
    assert shown == {family_name(spec): spec.kind.value for spec in CATALOGUE}


def test_openmetrics_says_the_unit_and_ends() -> None:
    """As its specification wants."""
    body = ours(filled(), OPENMETRICS)
    assert "# UNIT jobs_wait_duration_seconds seconds\n" in body
    assert body.endswith("\n# EOF\n") and body.count("# EOF") == 1
    assert "# EOF" not in ours(filled())


def test_metrics_without_a_series_are_not_shown() -> None:
    """A user who measures one thing scrapes one thing, and the scrape's own numbers."""
    metrics = MetricsService(CollectorRegistry())
    metrics.inc(metrics.jobs.timeouts, label(job_type="mail"))
    assert set(kinds(parse_text(ours(metrics)))) == {"jobs_timeouts", "metrics_series", "metrics_collect_seconds"}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=abc", TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", TEXT),
        ("text/plain;q=0.3,application/openmetrics-text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=high", TEXT),
        ("text/plain,application/openmetrics-text", TEXT),
        (";;;,,=,q=1", TEXT),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1",
            OPENMETRICS,
        ),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str | None, content_type: str) -> None:
    """The best quality wins, what cannot be served or understood gets the text format."""
    metrics = MetricsService()
    found, body = metrics.exposition(accept)
    assert found == content_type
    assert body.endswith(b"# EOF\n") == (content_type == OPENMETRICS)


def test_it_registers_beside_what_a_program_has() -> None:
    """The program's scrape has ours, and ours has the program's, each once."""
    registry = CollectorRegistry()
    TheirCounter("shop_orders", "Orders.", registry=registry).inc(7)
    Info("shop", "Shop.", registry=registry).info({"version": "1"})
    metrics = filled(registry)
    assert metrics.registry is registry
    assert b"shop_orders_total 7.0" in generate_latest(registry)
    assert b"cluster_errors_total{" in generate_latest(registry)
    for accept in (TEXT, OPENMETRICS):
        body = ours(metrics, accept)
        assert body.count("\nshop_orders_total 7.0\n") == 1
        assert body.count("# TYPE cluster_errors") == 1
        assert 'shop_info{version="1"} 1.0' in body
    assert "process_" not in ours(metrics)


def test_two_services_do_not_share_a_registry_by_accident() -> None:
    """Their series could not be told apart; after `close` the registry is free again."""
    registry = CollectorRegistry()
    first = MetricsService(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        MetricsService(registry)
    first.close()
    first.close()
    MetricsService(registry)


class Broken:
    """Somebody else's collector, on a bad day."""

    def collect(self) -> Iterable[Metric]:
        raise RuntimeError("no")


class Unwritable:
    """Somebody else's collector, which gives what cannot be written."""

    def collect(self) -> Iterable[Metric]:
        family = Metric("odd", "Odd.", "gauge")
        family.add_sample("odd", {"a": "b"}, "many")  # type: ignore[arg-type]
        return [family]


@pytest.mark.parametrize("collector", [Broken(), Unwritable()])
@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_a_raising_collector_of_somebody_else_never_fails_our_scrape(collector: Broken, accept: str) -> None:
    """It is missing, it is counted in the same scrape, and all of ours is there."""
    registry = CollectorRegistry()
    registry.register(collector)
    metrics = filled(registry)
    body = ours(metrics, accept)
    assert 'metrics_collector_errors_total{collector="registry"} 1\n' in body
    assert "cluster_errors_total{" in body
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text
    assert samples(parse(body))


def test_the_scrape_counts_series_and_its_own_time() -> None:
    """By metric, label sets; the time is in the same scrape."""
    metrics = MetricsService()
    for job_type in ("a", "b", "c"):
        metrics.jobs.duration.labels(job_type=job_type).observe(1.0)
    body = ours(metrics)
    assert 'metrics_series{metric="jobs_duration_seconds"} 3.0\n' in body
    assert "metrics_collect_seconds_count 1\n" in body
    generate_latest(metrics.registry)
    assert metrics.value("metrics_collect_seconds_count") == 2


def test_scraping_in_another_thread_is_safe_while_series_come_and_count() -> None:
    """Every scrape parses, buckets never shrink from bound to bound, and at rest nothing is missing."""
    metrics = MetricsService()
    done = threading.Event()
    bodies: list[str] = []
    failed: list[BaseException] = []

    def scrape() -> None:
        try:
            while not done.is_set():
                bodies.append(ours(metrics))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        for number in range(1500):
            meter = metrics.cluster.meter(operation="send", entity_type=f"Type{number}")
            meter.succeeded(0.0001 * number)
            meter.failed(0.01, ValueError())
    finally:
        done.set()
        thread.join()
    assert not failed
    assert bodies
    for body in [bodies[0], bodies[len(bodies) // 2], bodies[-1]]:
        families = {family.name: family for family in parse_text(body)}
        latency = families.get("cluster_message_latency_seconds")
        found: dict[str, list[float]] = {}
        for sample in latency.samples if latency else ():
            if sample.name.endswith("_bucket"):
                found.setdefault(sample.labels["entity_type"], []).append(sample.value)
        assert all(counts == sorted(counts) for counts in found.values())
    assert metrics.value("cluster_messages_sent_total") == 1500
    assert metrics.value("cluster_message_latency_seconds_count") == 3000


def test_a_scrape_elsewhere_steps_back_often_and_one_at_home_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the owner it pauses every two hundred lines at least; at home that would help nobody."""
    pauses: list[float] = []
    monkeypatch.setattr(scrape, "step_back", lambda: pauses.append(1))
    metrics = MetricsService()
    for number in range(1000):
        metrics.cluster.mailbox_wait.labels(entity_type=f"Type{number}").observe(0.1)
    lines = metrics.exposition()[1].count(b"\n")
    assert lines > 10_000
    assert not pauses
    thread = threading.Thread(target=metrics.exposition)
    thread.start()
    thread.join()
    assert len(pauses) >= lines / 200 + 1000 / 100


def test_the_fine_preset_has_more_buckets_and_the_same_bounds() -> None:
    """0.1 s is still one."""
    metrics = MetricsService(buckets="fine")
    metrics.cluster.meter(operation="send", entity_type="Cart").succeeded(0.07)
    bucket = "cluster_message_latency_seconds_bucket"
    assert metrics.value(bucket, le="0.1") == 1
    assert metrics.value(bucket, le="0.05") == 0
    assert sum(key[0] == bucket for key in metrics.snapshot()) == 17


def test_a_service_is_made_right_or_not_at_all() -> None:
    """An unknown preset and an impossible limit are named."""
    with pytest.raises(ValueError, match="finest"):
        MetricsService(buckets="finest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="series_max is 0"):
        MetricsService(series_max=0)


def test_reading_a_value_that_does_not_exist_says_so() -> None:
    """A misspelt name in a test must not pass as zero; a histogram is read by its samples."""
    metrics = MetricsService()
    for name in ("jobs_enqueue_total", "jobs_duration_seconds", "jobs_enqueued_total_count"):
        with pytest.raises(KeyError, match=name):
            metrics.value(name)
    assert metrics.value("jobs_enqueued_total") == 0
    assert metrics.value("jobs_duration_seconds_count") == 0
    with pytest.raises(LookupError):
        metrics.value("cluster_entities_total")
    with pytest.raises(ValueError, match="NaN"):
        metrics.observe(metrics.jobs.duration, label(), float("nan"))
