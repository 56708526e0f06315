"""The four forms of chart on the page: lines, dots with whiskers, a track from control to teacher, a heat map.

Each is drawn 480 units wide, so that two stand side by side on a desk and one fills a phone without tiny letters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from axk1.eval.report.svg import Point, Scale, drawable, drawing, element, marker, numbers, path, text
from axk1.eval.report.words import Text, Words

WIDTH = 480
LINE_SPACE = 17  # between two labels, so that they do not touch


@dataclass(frozen=True)
class Line:
    """One curve."""

    role: str
    """The model it belongs to; chooses colour and dash."""
    points: Sequence[Point]
    """Its x and y values; NaN breaks the line."""
    name: Text | None = None
    """The label at its end; None for a faint companion line."""
    faint: bool = False
    """Whether it is drawn thin and pale, as raw values under a smoothed curve are."""


@dataclass(frozen=True)
class Axis:
    """A direction of a chart."""

    label: Text
    """What it measures, with the unit."""
    low: float | None = None
    """Where it begins; None takes the smallest value."""
    high: float | None = None
    """Where it ends; None takes the largest value."""
    log: bool = False
    """Whether it counts in powers of ten."""
    format: Callable[[Sequence[float]], list[str]] = numbers
    """How the ticks are written."""


@dataclass(frozen=True)
class Dot:
    """A value with its interval."""

    role: str
    value: float
    low: float
    """Lower end of the whisker; equal to ``value`` when unknown."""
    high: float
    """Upper end of the whisker."""


@dataclass(frozen=True)
class DotRow:
    """The dots of one task."""

    label: Text
    dots: Sequence[Dot]


def line_chart(lines: Sequence[Line], *, x: Axis, y: Axis, label: str, rule: float | None = None) -> Markup:
    """Curves over a grid, each named at its end.

    Args:
        lines: the curves; those without a finite point are left out.
        x: the horizontal axis.
        y: the vertical axis; values outside its limits are cut off.
        label: id of the element that describes the chart.
        rule: a value to mark with a dashed horizontal line.
    """
    left, right, top, bottom = 52, 398, 30, 262
    across = _scale(x, [p[0] for line in lines for p in line.points], left, right)
    up = _scale(y, [p[1] for line in lines for p in line.points], bottom, top)
    clip = f"{label}-clip"
    frame = element("rect", x=left, y=top - 4, width=right - left + 6, height=bottom - top + 8)
    drawn = Markup("").join(_curve(line, across, up) for line in sorted(lines, key=lambda line: not line.faint))
    parts = [
        element("clipPath", frame, id=clip),
        *_grid(across, up, x, y),
        *([_rule(rule, up, left, right)] if rule is not None else []),
        element("g", drawn, clip_path=f"url(#{clip})"),
        *_end_labels([line for line in lines if line.name is not None], across, up),
        text(x.label, (left + right) / 2, bottom + 38, class_="axis", text_anchor="middle"),
    ]
    return drawing(WIDTH, bottom + 46, *parts, label=label)


def _scale(axis: Axis, values: Sequence[float], start: float, end: float) -> Scale:
    usable = [v for v in values if drawable(v) and (v > 0 or not axis.log)] or [1.0 if axis.log else 0.0]
    low = min(usable) if axis.low is None else axis.low
    high = max(usable) if axis.high is None else axis.high
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-9):  # all but flat: room for a line in the middle
        low, high = (low / 2, low * 2) if axis.log else (low - (abs(low) or 1) / 2, low + (abs(low) or 1) / 2)
    return Scale(low, high, start, end, axis.log)


def _grid(across: Scale, up: Scale, x: Axis, y: Axis) -> list[Markup]:
    parts = [text(y.label, 0, 12, class_="axis")]
    for value, words in _ticks(up, y, 5):
        at = up(value)
        parts.append(element("line", x1=across.start, x2=across.end, y1=at, y2=at, class_="grid"))
        parts.append(text(words, across.start - 7, at + 4, class_="tick", text_anchor="end"))
    for value, words in _ticks(across, x, 5):
        parts.append(text(words, across(value), up.start + 19, class_="tick", text_anchor="middle"))
    parts.append(element("line", x1=across.start, x2=across.end, y1=up.start, y2=up.start, class_="base"))
    return parts


def _ticks(scale: Scale, axis: Axis, count: int) -> list[tuple[float, str]]:
    values = scale.ticks(count)
    return list(zip(values, axis.format(values), strict=True))


def _rule(value: float, up: Scale, left: float, right: float) -> Markup:
    return element("line", x1=left, x2=right, y1=up(value), y2=up(value), class_="rule")


def _curve(line: Line, across: Scale, up: Scale) -> Markup:
    points = [(across(x), up(y)) for x, y in line.points]
    finite = [p for p in points if math.isfinite(p[0] + p[1])]
    style = f"line {line.role}{' faint' if line.faint else ''}"
    alone = marker(line.role, *finite[0]) if len(finite) == 1 else Markup("")
    return path(points, class_=style) + alone


def _end_labels(lines: Sequence[Line], across: Scale, up: Scale) -> list[Markup]:
    """Names at the ends of the curves, pushed apart where they would touch."""
    ends = []
    for line in lines:
        finite = [p for p in line.points if math.isfinite(across(p[0]) + up(p[1]))]
        if finite:
            x, y = across(finite[-1][0]), up(finite[-1][1])
            ends.append((min(max(y, up.end), up.start), x, line))
    ends.sort(key=lambda end: end[0])
    parts = []
    for wanted, at, (_, x, line) in zip([e[0] for e in ends], _spread([e[0] for e in ends], up), ends, strict=True):
        parts.append(marker(line.role, x, wanted, size=3.6))
        parts.append(text(line.name or "", max(x, across.end) + 10, at + 4, class_=f"name {line.role}"))
    return parts


def _spread(wanted: Sequence[float], up: Scale) -> list[float]:
    """Label positions as near to the wanted ones as the space between two lines allows; sorted from the top."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + LINE_SPACE) if placed else y)
    limit = up.start + 4
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - LINE_SPACE
    return placed


def dot_chart(
    rows: Sequence[DotRow],
    *,
    x: Axis,
    label: str,
    write: Callable[[float], str],
    possible: tuple[float, float] = (-math.inf, math.inf),
    label_width: float | None = None,
) -> Markup:
    """Dots with whiskers, one group of models a row, the value written at the right.

    The axis covers the data and does not begin at zero, which dots (unlike bars) allow.

    Args:
        rows: what to draw.
        x: the axis of the values.
        label: id of the element that describes the chart.
        write: how a value is written.
        possible: the least and greatest value that can be; the axis goes no further.
        label_width: room for the rows' labels; None measures them. Charts that belong together share it.
    """
    label_width = row_label_width([row.label for row in rows]) if label_width is None else label_width
    left, right, step, gap, top = label_width + 18, 404, 16, 14, 16
    ends = [v for row in rows for dot in row.dots for v in (dot.value, dot.low, dot.high)]
    scale = _scale(_padded(x, ends, possible), ends, left, right)
    parts, y = [], float(top)
    for row in rows:
        middle = y + (len(row.dots) - 1) * step / 2
        parts.append(text(row.label, left - 14, middle + 4, class_="row", text_anchor="end"))
        for dot in row.dots:
            parts += _whisker(dot, scale, y)
            parts.append(text(write(dot.value), WIDTH - 2, y + 4, class_=f"value {dot.role}", text_anchor="end"))
            y += step
        parts.append(element("line", x1=0, x2=WIDTH, y1=y - 1, y2=y - 1, class_="between"))
        y += gap
    bottom = y - gap + 4
    ticks = _ticks(scale, x, 4)
    grid = [element("line", x1=scale(v), x2=scale(v), y1=top - 10, y2=bottom, class_="grid") for v, _ in ticks]
    names = [text(words, scale(v), bottom + 17, class_="tick", text_anchor="middle") for v, words in ticks]
    axis = text(x.label, (left + right) / 2, bottom + 36, class_="axis", text_anchor="middle")
    return drawing(WIDTH, bottom + 44, *grid, *parts, *names, axis, label=label)


def row_label_width(labels: Sequence[Text]) -> float:
    """Room for the longest row label, by the usual widths of Latin letters and Hangul syllables at its font size."""
    texts = [text for label in labels for text in (label if isinstance(label, Words) else (label,))]
    return max((sum(13.5 if ord(c) >= 0x1100 else 7.4 for c in text) for text in texts), default=60.0)


def _padded(axis: Axis, values: Sequence[float], possible: tuple[float, float]) -> Axis:
    finite = [v for v in values if drawable(v)] or [0.0]
    room = 0.06 * ((max(finite) - min(finite)) or abs(finite[0]) or 1.0)
    low = max(min(finite) - room, possible[0]) if axis.low is None else axis.low
    high = min(max(finite) + room, possible[1]) if axis.high is None else axis.high
    return Axis(axis.label, low, high, axis.log, axis.format)


def _whisker(dot: Dot, scale: Scale, y: float) -> list[Markup]:
    if not drawable(dot.value):
        return []
    reach = (v if drawable(v) else dot.value for v in (dot.low, dot.high))
    low, high = (scale(min(max(v, scale.low), scale.high)) for v in reach)
    ends = [element("line", x1=x, x2=x, y1=y - 3.5, y2=y + 3.5, class_=f"whisker {dot.role}") for x in (low, high)]
    bar = element("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {dot.role}")
    return [bar, *(ends if high > low else []), marker(dot.role, scale(dot.value), y)]


def track_chart(rows: Sequence[DotRow], *, label: str) -> Markup:
    """Where the student stands between the control (0) and the teacher (1), one track a row.

    Each row holds the student's dot alone; its value is the share of the gap that it closes.
    """
    left, right, step, top = row_label_width([row.label for row in rows]) + 34, 440, 46, 40
    ends = [v for row in rows for dot in row.dots for v in (dot.value, dot.low, dot.high) if drawable(v)]
    scale = Scale(max(min([-0.06, *ends]), -1.0), min(max([1.06, *ends]), 2.0), left, right)
    zero, one = scale(0.0), scale(1.0)
    bottom = top + step * len(rows) - 18
    parts = [
        element("line", x1=zero, x2=zero, y1=top - 16, y2=bottom, class_="edge control"),
        element("line", x1=one, x2=one, y1=top - 16, y2=bottom, class_="edge teacher"),
        text(Words("control", "대조군"), zero, top - 24, class_="name control", text_anchor="middle"),
        text(Words("teacher", "교사"), one, top - 24, class_="name teacher", text_anchor="middle"),
    ]
    for i, row in enumerate(rows):
        y = top + i * step + 4.0
        parts.append(text(row.label, left - 18, y + 4, class_="row", text_anchor="end"))
        parts.append(element("line", x1=zero, x2=one, y1=y, y2=y, class_="track"))
        parts += [part for dot in row.dots for part in _track_dot(dot, scale, zero, y)]
    return drawing(WIDTH, bottom + 6, *parts, label=label)


def _track_dot(dot: Dot, scale: Scale, zero: float, y: float) -> list[Markup]:
    if not drawable(dot.value):
        return [text(Words("no gap to close", "좁힐 차이 없음"), zero + 8, y - 8, class_="tick")]
    inside = Dot(dot.role, min(max(dot.value, scale.low), scale.high), dot.low, dot.high)
    x = scale(inside.value)
    filled = element("line", x1=zero, x2=x, y1=y, y2=y, class_="filled")
    share = text(f"{100 * dot.value:.0f} %", x, y - 11, class_="share student", text_anchor="middle")
    return [filled, *_whisker(inside, scale, y), share]


def heat_map(
    values: Sequence[Sequence[float]], *, rows: Sequence[Text], columns: Text, row_axis: Text, label: str
) -> Markup:
    """Cells coloured by their ratio to an even share: blue below, orange above, the ratio written where it fits.

    Args:
        values: ratios, one list a row; 1.0 is an even share.
        rows: the rows' names.
        columns: what the columns are.
        row_axis: what the rows are.
        label: id of the element that describes the chart.
    """
    left, top, width = 44.0, 26.0, WIDTH - 46.0
    count = max((len(row) for row in values), default=1)
    cell, height = width / count, min(30.0, max(16.0, width / count))
    parts = [text(row_axis, 0, 14, class_="axis"), text(columns, WIDTH, 14, class_="axis", text_anchor="end")]
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + i * height
        parts.append(text(name, left - 10, y + height / 2 + 4, class_="tick", text_anchor="end"))
        for j, ratio in enumerate(row):
            parts += _cell(ratio, left + j * cell, y, cell, height)
    bottom = top + len(values) * height
    shown = range(0, count, max(1, math.ceil(count / 16)))
    parts += [text(str(j), left + (j + 0.5) * cell, bottom + 16, class_="tick", text_anchor="middle") for j in shown]
    return drawing(WIDTH, bottom + 24, *parts, label=label)


def _cell(ratio: float, x: float, y: float, width: float, height: float) -> list[Markup]:
    if not math.isfinite(ratio):
        return [text("?", x + width / 2, y + height / 2 + 4, class_="cell", text_anchor="middle")]
    # A doubling (or halving) is half the range of the colour; four times an even share and a dead expert are its ends.
    strength = min(abs(math.log2(max(ratio, 0.25))) / 2, 1.0)
    side = "over" if ratio >= 1 else "under"
    box = element(
        "rect", x=x + 0.7, y=y + 0.7, width=width - 1.4, height=height - 1.4, rx=2, class_=f"heat {side}",
        fill_opacity=f"{0.04 + 0.66 * strength:.2f}",
    )  # fmt: skip
    if width < 26:
        return [box]
    written = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    return [box, text(written, x + width / 2, y + height / 2 + 4, class_="cell", text_anchor="middle")]
