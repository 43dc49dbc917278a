"""The two formats of a scrape, written straight from the readings.

prometheus-client's writer builds a dict and a tuple per sample and sorts its labels; that is most of its cost. Here
the schema of a metric is fixed, so its lines are one format string filled with values. Label values were cleaned
when the series was made; what is left to escape is the backslash and the quote.

Negotiation follows the Accept header: the best quality wins, at a tie what is named first, and what cannot be
understood or served gets the text format, which every scraper reads.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from math import inf, isnan

from .cardinality import Values
from .reading import Distributions, Numbers, Reading, bound_texts, labels_of
from .spec import Kind, MetricSpec

_PIECE_LINES = 200


class Format(StrEnum):
    """The formats there are, each by its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiated(accept: str | None) -> Format:
    """The format for an Accept header."""
    best, best_quality = Format.TEXT, 0.0
    for offer in (accept or "").split(","):
        media_type, *parameters = (part.strip().lower() for part in offer.split(";"))
        options = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        found = _format_of(media_type, options.get("version"))
        quality = _quality(options.get("q", "1"))
        if found is not None and quality > best_quality:
            best, best_quality = found, quality
    return best


def _format_of(media_type: str, version: str | None) -> Format | None:
    match media_type:
        case "application/openmetrics-text":
            return Format.OPENMETRICS if version in (None, "1.0.0") else None
        case "text/plain" | "text/*" | "*/*":
            return Format.TEXT
        case _:
            return None


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0


def family_name(spec: MetricSpec) -> str:
    """The metric's name without the suffix that its samples have."""
    return spec.name.removesuffix("_total") if spec.kind is Kind.COUNTER else spec.name


def unit_of(spec: MetricSpec) -> str:
    """The unit, where the family's name ends with it as OpenMetrics wants; else none is said."""
    return spec.unit if spec.unit and family_name(spec).endswith(f"_{spec.unit}") else ""


def pieces(reading: Reading, form: Format) -> Iterator[str]:
    """The lines of one metric, in pieces of a few hundred; nothing for one without series."""
    if not reading.series:
        return
    yield _head(reading.spec, form)
    match reading:
        case Numbers():
            yield from _number_pieces(reading)
        case Distributions():
            yield from _distribution_pieces(reading)


def _head(spec: MetricSpec, form: Format) -> str:
    text = spec.help.replace("\\", "\\\\").replace("\n", "\\n")
    match form:
        case Format.TEXT:
            return f"# HELP {spec.name} {text}\n# TYPE {spec.name} {spec.kind}\n"
        case Format.OPENMETRICS:
            name, unit = family_name(spec), unit_of(spec)
            escaped = text.replace('"', '\\"')
            said = f"# UNIT {name} {unit}\n" if unit else ""
            return f"# HELP {name} {escaped}\n# TYPE {name} {spec.kind}\n{said}"


def _number_pieces(reading: Numbers) -> Iterator[str]:
    labels = _LabelWriter(reading.spec)
    careful = f"{reading.spec.name}%s %s\n"
    quick = f"{reading.spec.name}{labels.template} %s\n"
    source = iter(reading.series.items())
    while chunk := list(islice(source, _PIECE_LINES)):
        piece = "".join([quick % (*values, _number(value)) for values, value in chunk])
        if labels.suits(piece, len(chunk)):
            yield piece
        else:
            yield "".join([careful % (labels.written(values), _number(value)) for values, value in chunk])


def _distribution_pieces(reading: Distributions) -> Iterator[str]:
    lines = _distribution_lines(reading)
    while piece := "".join(islice(lines, max(1, _PIECE_LINES // (len(reading.bounds) + 3)))):
        yield piece


def _distribution_lines(reading: Distributions) -> Iterator[str]:
    name, labels, les = reading.spec.name, _LabelWriter(reading.spec), bound_texts(reading.bounds)
    for values, found in reading.series.items():
        bare = labels.written(values)
        start = f"{name}_bucket{bare[:-1]}," if bare else f"{name}_bucket{{"
        buckets = [f'{start}le="{le}"}} {count}\n' for le, count in zip(les, found.cumulated, strict=True)]
        yield f"{''.join(buckets)}{name}_count{bare} {found.count}\n{name}_sum{bare} {_number(found.sum)}\n"


class _LabelWriter:
    """Writes the labels of one metric's series, in braces."""

    __slots__ = ("_spec", "template")

    template: str
    """What values can be filled into as they are, if all are there and none needs escaping."""

    def __init__(self, spec: MetricSpec) -> None:
        self._spec = spec
        inside = ",".join(f'{name}="%s"' for name in spec.labels)
        self.template = f"{{{inside}}}" if inside else ""

    def suits(self, text: str, lines: int) -> bool:
        """Was the template right for these lines? Looking at what was written is quicker than at each value."""
        quotes = 2 * len(self._spec.labels) * lines
        return "\\" not in text and '=""' not in text and text.count('"') == quotes

    def written(self, values: Values) -> str:
        """The labels of any values, or nothing if there are none."""
        present = labels_of(self._spec, values)
        inside = ",".join([f'{name}="{_escaped(value)}"' for name, value in present.items()])
        return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str | int:
    if type(value) is int:
        return value
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))  # float() unwraps subclasses, whose repr may be anything
