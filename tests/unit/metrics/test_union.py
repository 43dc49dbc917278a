"""The page of several processes: what is summed, what is not, and what stays when one of them ends."""

from prometheus_client import CollectorRegistry, Info
from prometheus_client import Counter as TheirCounter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from holdfast.metrics import MetricsService, label
from holdfast.metrics.exposition import Format
from holdfast.metrics.union import Page, Union, read_page

OPENMETRICS = Format.OPENMETRICS.value
ODD = 'a "quoted" {brace} \\ end'


def a_process(sent: int, runners: int, registry: CollectorRegistry | None = None) -> MetricsService:
    metrics = MetricsService(registry)
    for _ in range(sent):
        with metrics.track_cluster(operation="send", entity_type=ODD):
            pass
    metrics.gauge(metrics.cluster.runners, label(), runners)
    metrics.gauge(metrics.cluster.entities, label(), 10)
    return metrics


def page_of(metrics: MetricsService) -> Page:
    return read_page(metrics.exposition(OPENMETRICS)[1].decode())


def value(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_counters_and_histograms_and_gauges_are_summed_and_the_view_of_the_cluster_is_not() -> None:
    text = Union().page([page_of(a_process(3, 2)), page_of(a_process(4, 2))], Format.TEXT)
    assert value(text, "cluster_messages_sent_total{") == 7
    assert value(text, "cluster_message_latency_seconds_count{") == 7
    assert value(text, "cluster_entities_total ") == 20
    assert value(text, "cluster_runners_total ") == 2


def test_one_process_reads_as_it_would_by_itself_in_both_formats() -> None:
    registry = CollectorRegistry()
    TheirCounter("orders", 'Orders "taken".', ["shop"], registry=registry).labels(ODD).inc(3)
    Info("build", "What was built.", registry=registry).info({"version": "1"})
    metrics = a_process(3, 1, registry)
    page = page_of(metrics)

    def samples(text: str, parse: object) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(text)  # type: ignore[operator]
            for sample in family.samples
            if not sample.name.endswith("_created") and "collect" not in sample.name
        }

    for form, parse in ((Format.TEXT, parse_text), (Format.OPENMETRICS, parse_openmetrics)):
        alone = metrics.exposition(form.value)[1].decode()
        assert samples(Union().page([page], form), parse) == samples(alone, parse)


def test_what_an_ended_process_counted_stays_and_its_gauges_go() -> None:
    union = Union()
    union.retire(page_of(a_process(3, 2)))
    text = union.page([page_of(a_process(4, 1))], Format.TEXT)
    assert value(text, "cluster_messages_sent_total{") == 7
    assert value(text, "cluster_entities_total ") == 10


def test_exemplars_and_times_are_left_out() -> None:
    page = read_page('# TYPE hits counter\nhits_total{a="}"} 4 1.5 # {trace_id="x"} 1.0\n# EOF\n')
    assert page["hits"].samples == {'hits_total{a="}"}': 4.0}
