"""Where the histograms are cut.

Two presets hold the upper bounds of every histogram by the name of their scale. `BOUNDARIES` is the default and
part of the contract: `cluster`, `jobs` and `http` never change, because dashboards read them. `FINE_BOUNDARIES` is
a superset, scale by scale, so that changing the preset keeps every query that names a bound (0.1 s stays one: the
target for messages is read without interpolation). The last bucket, infinity, is implied everywhere.
"""

from dataclasses import dataclass
from typing import Literal

Bounds = tuple[float, ...]
Preset = Literal["default", "fine"]
Scale = Literal["cluster", "jobs", "http", "storage", "lag", "lifetime", "attempts", "rows"]


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Upper bounds by scale, ascending; seconds unless the scale says otherwise."""

    cluster: Bounds
    jobs: Bounds
    http: Bounds
    storage: Bounds
    lag: Bounds
    lifetime: Bounds
    attempts: Bounds
    """Tries, a count."""
    rows: Bounds
    """Rows of one batch, a count."""

    def scale(self, name: Scale) -> Bounds:
        """The bounds of one scale."""
        bounds: Bounds = getattr(self, name)
        return bounds


BOUNDARIES = Boundaries(
    cluster=(0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
    jobs=(0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
    http=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0),
    storage=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
    lag=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
    lifetime=(1.0, 5.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0),
    attempts=(1.0, 2.0, 3.0, 5.0, 10.0, 20.0),
    rows=(1.0, 4.0, 16.0, 64.0, 256.0, 1024.0),
)

FINE_BOUNDARIES = Boundaries(
    cluster=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    jobs=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0),
    http=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0),
    storage=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    lag=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0),
    lifetime=(0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0),
    attempts=(1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0),
    rows=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0),
)

PRESETS: dict[Preset, Boundaries] = {"default": BOUNDARIES, "fine": FINE_BOUNDARIES}
