"""The picture of a run, as SVG: a lane for each thing that was harmed, and where entities did not answer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .history import Event
from .storm import Injection

LANE = 22
LEFT = 110
WIDTH = 1200
COLOURS = (
    "#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#eeca3b", "#b279a2", "#ff9da6", "#9d755d", "#7f7f7f",
)  # fmt: skip


def picture(injections: Sequence[Injection], events: Sequence[Event], *, began: float, title: str) -> str:
    """The gaps are those of probes, drawn as one faint line for each."""
    gaps = [event for event in events if event.workload == "probe"]
    ended = max([one.ended for one in injections] + [gap.returned for gap in gaps], default=began + 1) + 1
    scale = (WIDTH - LEFT - 20) / max(ended - began, 1.0)

    def x(moment: float) -> float:
        return round(LEFT + (moment - began) * scale, 1)

    lanes = sorted({one.target for one in injections})
    kinds = sorted({one.fault for one in injections})
    colour = {kind: COLOURS[index % len(COLOURS)] for index, kind in enumerate(kinds)}
    top = 40 + 18 * ((len(kinds) + 4) // 5)
    height = top + LANE * (len(lanes) + 2) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="18" font-size="14">{escape(title)}</text>',
        *_legend(kinds, colour),
    ]
    for number, lane in enumerate(lanes):
        y = top + number * LANE
        parts.append(f'<text x="8" y="{y + 14}">{escape(lane)}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y + 19}" y2="{y + 19}" stroke="#eee"/>')
        for one in (one for one in injections if one.target == lane):
            width = max(2.0, round(x(one.ended) - x(one.began), 1))
            said = f"{one.fault}, {one.began - began:.1f} to {one.ended - began:.1f} s"
            parts.append(
                f'<rect x="{x(one.began)}" y="{y + 2}" width="{width}" height="14" rx="2" fill="{colour[one.fault]}" '
                f'fill-opacity="0.75"><title>{escape(said)}</title></rect>'
            )
    y = top + len(lanes) * LANE
    parts.append(f'<text x="8" y="{y + 14}">away</text>')
    for gap in gaps:
        width = max(1.0, round(x(gap.returned) - x(gap.called), 1))
        said = f"{gap.key} did not answer for {gap.returned - gap.called:.2f} s"
        parts.append(
            f'<rect x="{x(gap.called)}" y="{y + 2}" width="{width}" height="14" fill="#d62728" fill-opacity="0.06">'
            f"<title>{escape(said)}</title></rect>"
        )
    parts += _axis(began, ended, x, y + LANE)
    return "\n".join([*parts, "</svg>"])


def _legend(kinds: Sequence[str], colour: dict[str, str]) -> list[str]:
    parts: list[str] = []
    for index, kind in enumerate(kinds):
        x, y = 10 + 200 * (index % 5), 32 + 18 * (index // 5)
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour[kind]}"/>')
        parts.append(f'<text x="{x + 16}" y="{y + 10}">{escape(kind)}</text>')
    return parts


def _axis(began: float, ended: float, x: object, y: int) -> list[str]:
    assert callable(x)
    step = next(step for step in (1, 5, 10, 30, 60, 300, 900, 3600, 10**9) if (ended - began) / step <= 16)
    parts: list[str] = []
    for second in range(0, int(ended - began) + 1, step):
        parts.append(f'<text x="{x(began + second)}" y="{y + 14}" fill="#555">{second} s</text>')
        parts.append(f'<line x1="{x(began + second)}" x2="{x(began + second)}" y1="40" y2="{y}" stroke="#ddd"/>')
    return parts
