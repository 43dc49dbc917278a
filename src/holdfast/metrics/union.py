"""One page for several processes: their scrapes in OpenMetrics, read and added up, and written in either format.

How a metric's values become one stands in the catalogue: most are summed, ages and what each process sees of the whole
cluster take the greatest. What the catalogue does not know (a user's own metrics) is summed. A process that has ended
keeps what it counted: its counters and histograms stay in the sums, because a counter must never fall; its gauges go
with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf, isnan

from .catalogue import CATALOGUE
from .exposition import Format
from .spec import Aggregate

_GREATEST = frozenset(spec.name for spec in CATALOGUE if spec.aggregate is Aggregate.MAX)
_GROWING = frozenset({"counter", "histogram", "summary"})
_END = "# EOF"
_SAMPLE = re.compile(r'([^{ ]+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?) (\S+)')
"""The series, and its value; a time or an exemplar behind them is one process's own."""
_TEXT_KINDS = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "untyped", "unknown": "untyped"}
_TEXT_SUFFIX = {"counter": "_total", "info": "_info"}


@dataclass(slots=True)
class Family:
    """A metric as one page shows it: what is said of it, and its samples by name with labels."""

    kind: str = "unknown"
    help: str = ""
    unit: str = ""
    samples: dict[str, float] = field(default_factory=dict[str, float])


Page = dict[str, Family]
"""The families of a page, in its order."""


def read_page(text: str) -> Page:
    """What an OpenMetrics page says. Raises ValueError for a line that is none of its."""
    page: Page = {}
    family = Family()
    for line in text.splitlines():
        if line.startswith("# "):
            family = _described(page, family, line)
        elif line:
            found = _SAMPLE.match(line)
            if found is None:
                raise ValueError(f"no sample: {line[:80]!r}")
            family.samples[found[1]] = float(found[2])
    return page


def _described(page: Page, current: Family, line: str) -> Family:
    word, name, said = (*line[2:].split(" ", 2), "", "")[:3]
    if word not in ("HELP", "TYPE", "UNIT"):
        return current
    family = page.setdefault(name, Family())
    match word:
        case "HELP":
            family.help = said
        case "TYPE":
            family.kind = said
        case _:
            family.unit = said
    return family


class Union:
    """Adds pages up, those of ended processes included. Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._retired: Page = {}

    def retire(self, page: Page) -> None:
        """The process whose last page this is has ended."""
        growing = {name: family for name, family in page.items() if family.kind in _GROWING}
        self._retired = merged([self._retired, growing])

    def page(self, pages: Iterable[Page], form: Format) -> str:
        """The sum of the pages of the processes that run, as text."""
        whole = merged([self._retired, *pages])
        match form:
            case Format.TEXT:
                return "".join(_text(whole))
            case Format.OPENMETRICS:
                return "".join(_openmetrics(whole))


def merged(pages: Iterable[Page]) -> Page:
    """All pages as one."""
    whole: Page = {}
    for page in pages:
        for name, family in page.items():
            into = whole.get(name)
            if into is None:
                whole[name] = Family(family.kind, family.help, family.unit, dict(family.samples))
            elif name in _GREATEST:
                _keep_greatest(into.samples, family.samples)
            else:
                _add(into.samples, family.samples)
    return whole


def _add(into: dict[str, float], more: dict[str, float]) -> None:
    for series, value in more.items():
        if _is_creation(series):
            into[series] = min(into.get(series, inf), value)
        else:
            into[series] = into.get(series, 0.0) + value


def _keep_greatest(into: dict[str, float], more: dict[str, float]) -> None:
    for series, value in more.items():
        into[series] = max(into.get(series, -inf), value)


def _is_creation(series: str) -> bool:
    return series.partition("{")[0].endswith("_created")


def _openmetrics(page: Page) -> Iterator[str]:
    for name, family in page.items():
        said = f"# UNIT {name} {family.unit}\n" if family.unit else ""
        yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{said}"
        yield "".join([f"{series} {_number(value)}\n" for series, value in family.samples.items()])
    yield f"{_END}\n"


def _text(page: Page) -> Iterator[str]:
    for name, family in page.items():
        name += _TEXT_SUFFIX.get(family.kind, "")
        said = family.help.replace('\\"', '"')
        yield f"# HELP {name} {said}\n# TYPE {name} {_TEXT_KINDS.get(family.kind, family.kind)}\n"
        samples = family.samples.items()
        yield "".join([f"{series} {_number(value)}\n" for series, value in samples if not _is_creation(series)])


def _number(value: float) -> str:
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
