"""The reference page, written from the catalogue: `python -m holdfast.metrics.reference > docs/metrics.md`."""

from collections.abc import Iterator

from .boundaries import BOUNDARIES, FINE_BOUNDARIES, Bounds
from .catalogue import CATALOGUE, LABELS
from .spec import MetricSpec, NamespaceName

TITLES: dict[NamespaceName, str] = {
    "cluster": "Entities, messages and ownership",
    "jobs": "Jobs",
    "http": "HTTP",
    "singleton": "Singletons",
    "stream": "Streams",
    "workers": "Workers for blocking and CPU-bound handlers",
    "errors": "Errors",
    "storage": "Storage",
    "runtime": "Runtime",
    "service": "The metrics themselves",
    "process": "Process",
}

_INTRODUCTION = """\
# Metrics

Every metric of `MetricsService`, written from its catalogue (`python -m holdfast.metrics.reference`); do not edit
this page by hand. The attribute is where the instrument is found in Python: `metrics.cluster.errors`. *Over runners*
says how the values of several runners become one. Durations are in seconds and are observed whatever the outcome.
A series appears with its first event; a value that cannot be read is absent, never a false zero.
"""


def page() -> str:
    """The whole page."""
    sections = (_section(name, title) for name, title in TITLES.items())
    return "\n".join([_INTRODUCTION, *sections, _buckets(), _labels()])


def _section(name: NamespaceName, title: str) -> str:
    described = [spec for spec in CATALOGUE if spec.namespace == name]
    head = f"## {title}: `metrics.{name}`" if name != "process" else f"## {title}"
    note = "" if name != "process" else "From prometheus-client, where the service has a registry of its own.\n\n"
    columns = "| attribute | exposed name | kind | labels | over runners | meaning | counted by | OpenTelemetry |"
    rows = [_row(spec) for spec in described]
    return "\n".join([head, "", f"{note}{columns}", "|---|---|---|---|---|---|---|---|", *rows, ""])


def _row(spec: MetricSpec) -> str:
    attribute = f"`{spec.attribute}`" if spec.namespace != "process" else "-"
    kind = f"{spec.kind} ({spec.scale})" if spec.scale else str(spec.kind)
    labels = ", ".join(spec.labels) or "-"
    cells = (
        attribute,
        f"`{spec.name}`",
        kind,
        labels,
        spec.aggregate,
        _meaning(spec),
        spec.owner,
        f"`{spec.otel_name}`",
    )
    return f"| {' | '.join(cells)} |"


def _meaning(spec: MetricSpec) -> str:
    if spec.derived is None:
        return spec.help
    return f"{spec.help} Follows from `{spec.derived.histogram}`."


def _buckets() -> str:
    head = ["## Buckets", "", '| scale | default | `buckets="fine"` |', "|---|---|---|"]
    scales = list(BOUNDARIES.__dataclass_fields__)
    rows = [
        f"| {name} | {_bounds(getattr(BOUNDARIES, name))} | {_bounds(getattr(FINE_BOUNDARIES, name))} |"
        for name in scales
    ]
    return "\n".join([*head, *rows, ""])


def _bounds(bounds: Bounds) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


def _labels() -> str:
    return "\n".join(_label_lines())


def _label_lines() -> Iterator[str]:
    yield "## Labels\n"
    yield "A metric has at most `series_max` label sets (2,000 unless told). Beyond that, values of the labels that"
    yield "name things of the program are folded into `__other__`, and `metrics_overflow_total` counts it.\n"
    yield "| label | closed set | meaning |\n|---|---|---|"
    for name, (closed, meaning) in sorted(LABELS.items()):
        yield f"| {name} | {'yes' if closed else 'no'} | {meaning} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
