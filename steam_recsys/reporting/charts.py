"""Charts as inline SVG: bars with intervals, lines and scatter plots. No script, and every text is escaped.

The colours are CSS classes, `series-0` and so on, which the page defines for light and dark mode. A chart is about as
wide as a phone and grows with the page, so that its text is readable on both. Values that are not finite or extremely
large are not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from steam_recsys.rules import NOT_MEASURED

COLOURS = 8
"""Number of colours; further series share the last one, a grey."""

WIDTH, HEIGHT = 460.0, 320.0
_LEFT, _RIGHT, _BOTTOM = 60.0, 14.0, 44.0
_LETTER, _LINE, _BAR, _DOT = 7.5, 19.0, 9.0, 3.0
"""Approximate width of a letter, height of a line of text, height of a bar and radius of a dot."""

_SHIFTS = tuple(side * line * (_LINE - 3) for line in range(8) for side in (-1, 1))
"""Where a name is written, from beside its dot to further up and down."""

_TICKS = 5
_LEVEL = 1e-9
"""Relative difference below which numbers are drawn as equal."""

_LARGEST = 1e12
"""Largest number that is drawn."""


@dataclass(frozen=True)
class Bar:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """A series of points.

    Attributes:
        name: Name in the legend.
        points: The points (x, y).
        names: Name of each point, shown on hover; empty for none.
        intervals: Lower and upper end of each point's y, drawn on lines; empty for none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    names: Sequence[str] = ()
    intervals: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Axis:
    """The label of an axis, and its ticks with their text; None for round numbers."""

    label: str
    ticks: Sequence[tuple[float, str]] | None = None


def bar_chart(
    title: str, label: str, series: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[int, Bar]]]]
) -> Markup:
    """Draw horizontal bars from zero, with their intervals, below the name of each row.

    Args:
        title: Title for screen readers.
        label: Label of the axis.
        series: Names of the series for the legend.
        rows: Name of each row, and its bars with the index of their series.
    """
    legend, top = _legend(series)
    values = [(bar.value, bar.low, bar.high) for _, bars in rows for _, bar in bars]
    values = [ends for ends in values if _drawn(*ends)]
    scale = _Scale.from_values([0.0, *(value for ends in values for value in ends)], 12.0, WIDTH - 62)
    drawn: list[str] = []
    y = top
    for name, bars in rows:
        drawn.append(_text(0, y + 13, _shortened(name)))
        y += _LINE
        for number, bar in bars:
            drawn.append(_bar(number, bar, scale, y))
            y += _BAR + 3
        if not bars:
            drawn.append(_text(scale.at(0), y + _BAR, NOT_MEASURED, "small"))
            y += _BAR + 3
        y += 6
    axis = _x_axis(Axis(label), scale, top, y)
    return _svg(title, y + _BOTTOM, [legend, axis, *drawn])


def line_chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> Markup:
    """Draw a line through the points of each series in their order; points with names are dots on it."""
    plot = _Plot.from_series(x, y, series)
    lines = []
    for number, one in enumerate(series):
        points = plot.points(one)
        path = "L".join(f"{left:.1f} {top:.1f}" for left, top, _ in points)
        lines.append(f'<path class="line {_colour(number)}" d="M{path}"/>' if path else "")
        whiskers = "".join(f"M{left:.1f} {low:.1f}V{high:.1f}" for left, low, high in plot.intervals(one))
        lines.append(f'<path class="line faint {_colour(number)}" d="{whiskers}"/>' if whiskers else "")
        lines.append(_dots(number, points) if one.names else "")
    return plot.svg(title, lines)


def scatter_chart(
    title: str, x: Axis, y: Axis, series: Sequence[Series], labels: Sequence[str] = (), *, every_label: bool = False
) -> Markup:
    """Draw dots, which show their names on hover.

    Args:
        title: Title for screen readers.
        x: Horizontal axis.
        y: Vertical axis.
        series: The series, one colour each.
        labels: Names to write beside their dots if there is room, the most important first.
        every_label: Whether to write a name above or below, with a line to its dot, if there is no room beside it.
    """
    plot = _Plot.from_series(x, y, series)
    drawn: list[str] = []
    named: dict[str, tuple[float, float]] = {}
    for number, one in enumerate(series):
        points = plot.points(one)
        drawn.append(_dots(number, points))
        for left, top, name in points:
            named.setdefault(name, (left, top))
    texts = _labels([(name, *named[name]) for name in labels if name in named], _SHIFTS if every_label else (0.0,))
    return plot.svg(title, [*drawn, *texts])


def sparkline(title: str, values: Sequence[float]) -> Markup:
    """Draw values as a small line without axes, with a dot at the last one; at least one value."""
    drawn_values = [value for value in values if _drawn(value)]
    along = _Scale.from_values([0.0, float(len(drawn_values) - 1)], 4.0, 156.0)
    up = _Scale.from_values(drawn_values, 32.0, 4.0)
    points = [(along.at(index), up.at(value)) for index, value in enumerate(drawn_values)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    drawn = [f'<path class="line series-0" d="M{path}"/>' if path else ""]
    drawn += [f'<circle class="series-0" cx="{x:.1f}" cy="{y:.1f}" r="{_DOT:g}"/>' for x, y in points[-1:]]
    return _svg(title, 36.0, drawn, width=160.0)


@dataclass(frozen=True)
class _Scale:
    """A linear map from numbers to coordinates."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def from_values(cls, values: Iterable[float], start: float, end: float) -> _Scale:
        found = list(values) or [0.0]
        low, high = min(found), max(found)
        level = _LEVEL * max(1.0, abs(low), abs(high))
        if high - low < level:
            low, high = min(low, 0.0), max(high, 0.0)
        return cls(low, high if high - low >= level else low + 1, start, end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return about five round ticks: multiples of one, two or five times a power of ten."""
        raw = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        digits = max(0, -math.floor(math.log10(step)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Plot:
    """The frame that points are drawn in, with its axes."""

    x: Axis
    y: Axis
    x_scale: _Scale
    y_scale: _Scale
    legend: str
    top: float

    @classmethod
    def from_series(cls, x: Axis, y: Axis, series: Sequence[Series]) -> _Plot:
        legend, top = _legend([one.name for one in series])
        points = [point for one in series for point in one.points if _drawn(*point)]
        heights = [point[1] for point in points]
        heights += [end for one in series for interval in one.intervals if _drawn(*interval) for end in interval]
        along = _Scale.from_values((point[0] for point in points), _LEFT + 6, WIDTH - _RIGHT - 6)
        up = _Scale.from_values(heights, top + HEIGHT - 6, top + 6)
        return cls(x, y, along, up, legend, top)

    def points(self, series: Series) -> list[tuple[float, float, str]]:
        """Return the coordinates of the points that are drawn, and their names, empty for none."""
        names = series.names or [""] * len(series.points)
        return [
            (self.x_scale.at(x), self.y_scale.at(y), name)
            for (x, y), name in zip(series.points, names, strict=True)
            if _drawn(x, y)
        ]

    def intervals(self, series: Series) -> list[tuple[float, float, float]]:
        """Return the coordinates of the intervals that are drawn: x, and y of both ends."""
        return [
            (self.x_scale.at(x), self.y_scale.at(low), self.y_scale.at(high))
            for (x, y), (low, high) in zip(series.points, series.intervals, strict=False)
            if low < high and _drawn(x, y, low, high)
        ]

    def svg(self, title: str, drawn: Sequence[str]) -> Markup:
        bottom = self.top + HEIGHT
        frame = (
            f'<rect class="frame" x="{_LEFT:g}" y="{self.top:g}" width="{WIDTH - _LEFT - _RIGHT:g}" '
            f'height="{HEIGHT:g}"/>'
        )
        axes = [_x_axis(self.x, self.x_scale, self.top, bottom), self._y_axis()]
        return _svg(title, bottom + _BOTTOM, [self.legend, frame, *axes, *drawn])

    def _y_axis(self) -> str:
        ticks = self.y_scale.ticks() if self.y.ticks is None else self.y.ticks
        drawn = [
            f'<path class="grid" d="M{_LEFT:g} {self.y_scale.at(value):.1f}H{WIDTH - _RIGHT:g}"/>'
            + _text(_LEFT - 5, self.y_scale.at(value) + 4, name, "end")
            for value, name in ticks
        ]
        middle = self.top + HEIGHT / 2
        label = f'<text class="middle" transform="translate(12 {middle:g}) rotate(-90)">{escape(self.y.label)}</text>'
        return "".join(drawn) + label


def _x_axis(axis: Axis, scale: _Scale, top: float, bottom: float) -> str:
    ticks = scale.ticks() if axis.ticks is None else axis.ticks
    drawn = []
    for value, name in ticks:
        x, half = scale.at(value), _LETTER * len(name) / 2
        text = _text(max(half, min(x, WIDTH - half)), bottom + 15, name, "middle")
        drawn.append(f'<path class="grid" d="M{x:.1f} {top:g}V{bottom:g}"/>{text}')
    return "".join(drawn) + _text((scale.start + scale.end) / 2, bottom + 36, axis.label, "middle")


def _bar(number: int, bar: Bar, scale: _Scale, y: float) -> str:
    if not _drawn(bar.value, bar.low, bar.high):
        return _text(scale.at(0), y + _BAR, NOT_MEASURED, "small")
    zero, end, low, high = (scale.at(value) for value in (0.0, bar.value, bar.low, bar.high))
    return (
        f'<rect class="{_colour(number)}" x="{min(zero, end):.1f}" y="{y:g}" width="{abs(end - zero):.1f}" '
        f'height="{_BAR:g}"/><path class="whisker" d="M{low:.1f} {y + _BAR / 2:g}H{high:.1f}"/>'
        + _text(max(end, high) + 5, y + _BAR, f"{bar.value:.4f}", "small")
    )


def _dots(number: int, points: Sequence[tuple[float, float, str]]) -> str:
    dots = []
    for left, top, name in points:
        title = f"><title>{escape(name)}</title></circle>" if name else "/>"
        dots.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{_DOT:g}"{title}')
    return f'<g class="dots {_colour(number)}">{"".join(dots)}</g>'


def _labels(names: Sequence[tuple[str, float, float]], shifts: Sequence[float]) -> list[str]:
    """Draw the names beside their dots, or shifted up or down, leaving out those that overlap an earlier one."""
    drawn: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for name, x, dot in names:
        text = _shortened(name, 24)
        width = _LETTER * len(text)
        left = x + 6 if x + 6 + width < WIDTH - _RIGHT else x - 6 - width
        for y in (dot + shift for shift in shifts if not shift or _LINE < dot + shift < HEIGHT):
            if all(abs(y - other) > _LINE - 4 or left > end or left + width < start for start, end, other in taken):
                taken.append((left, left + width, y))
                side = left if left > x else left + width
                drawn.append(f'<path class="grid" d="M{x:.1f} {dot:.1f}L{side:.1f} {y:.1f}"/>' if y != dot else "")
                drawn.append(_text(left, y + 4, text, "small"))
                break
    return drawn


def _legend(names: Sequence[str]) -> tuple[str, float]:
    """Draw a coloured square beside each name, and return the height; nothing for a single name."""
    if len(names) < 2:
        return "", 8.0
    drawn: list[str] = []
    x, y = 0.0, 0.0
    for number, name in enumerate(names):
        width = 16 + _LETTER * len(name) + 14
        if x and x + width > WIDTH:
            x, y = 0.0, y + _LINE
        square = f'<rect class="{_colour(number)}" x="{x:g}" y="{y + 3:g}" width="11" height="11"/>'
        drawn.append(square + _text(x + 16, y + 13, name))
        x += width
    return "".join(drawn), y + _LINE + 8


def _svg(title: str, height: float, drawn: Sequence[str], width: float = WIDTH) -> Markup:
    return Markup(
        f'<svg role="img" viewBox="0 0 {width:g} {height:g}"><title>{escape(title)}</title>\n'
        + "\n".join(filter(None, drawn))
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, name: str = "") -> str:
    named = f' class="{name}"' if name else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _shortened(text: str, letters: int = int(WIDTH / _LETTER)) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _colour(number: int) -> str:
    return f"series-{min(number, COLOURS - 1)}"


def _drawn(*numbers: float) -> bool:
    return all(abs(number) <= _LARGEST for number in numbers)  # False for NaN
