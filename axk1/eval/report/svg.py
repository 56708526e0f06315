"""Inline SVG by hand: elements, bilingual text, scales with round ticks. Colours come from the page's CSS classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from axk1.eval.report.words import Text, Words

Point = tuple[float, float]


def drawable(value: float) -> bool:
    """Whether a number can stand on an axis; what a diverged run logs may not."""
    return abs(value) < 1e30  # False for NaN, too


def element(name: str, *children: str, **attributes: object) -> Markup:
    """One element; children and attribute values are escaped unless they are markup already.

    ``class_`` becomes ``class``, ``stroke_width`` becomes ``stroke-width``; attributes that are None are left out and
    numbers are rounded to a tenth of a pixel, which is what keeps the page small.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    return Markup(f"<{name}{written}>{inside}</{name}>") if children else Markup(f"<{name}{written}/>")


def text(words: Text, x: float, y: float, **attributes: object) -> Markup:
    """A text at a point; a bilingual one becomes two elements, of which CSS shows one."""
    if not isinstance(words, Words):
        return element("text", words, x=x, y=y, **attributes)
    own = str(attributes.pop("class_", ""))
    pair = (("en", words.en), ("ko", words.ko))
    return Markup("").join(
        element("text", value, x=x, y=y, class_=f"{own} {language}".strip(), lang=language, **attributes)
        for language, value in pair
    )


def drawing(width: float, height: float, *parts: str, label: str, class_: str = "chart") -> Markup:
    """An ``<svg>`` that scales with its column; ``label`` is the id of the element that describes it."""
    box = f"0 0 {_short(width)} {_short(height)}"
    return element("svg", *parts, viewBox=box, class_=class_, role="img", aria_labelledby=label)


def path(points: Sequence[Point], **attributes: object) -> Markup:
    """A line through the points, broken where a coordinate is not finite; nothing when no point is finite."""
    steps: list[str] = []
    pen_down = False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            steps.append(f"{'L' if pen_down else 'M'}{_short(x)} {_short(y)}")
            pen_down = True
        else:
            pen_down = False
    return element("path", d="".join(steps), **attributes) if steps else Markup("")


def marker(role: str, x: float, y: float, size: float = 4.5) -> Markup:
    """The sign of a model, told apart by shape, too: diamond (teacher), disc (student), open square (control)."""
    class_ = f"mark {role}"
    if role == "teacher":
        s = size * 1.25
        return element(
            "path", d=f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l-{s:.1f} {s:.1f}l-{s:.1f}-{s:.1f}z", class_=class_
        )
    if role == "control":
        s = size * 0.9
        return element("rect", x=x - s, y=y - s, width=2 * s, height=2 * s, class_=f"{class_} open")
    return element("circle", cx=x, cy=y, r=size, class_=class_)


@dataclass(frozen=True)
class Scale:
    """Maps values ``low``..``high`` to pixels ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; NaN where the value has none. Far outside the scale it is just far outside."""
        if not drawable(value) or (self.log and value <= 0):
            return math.nan
        low, high, here = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = min(max((here - low) / (high - low), -100.0), 100.0)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values within the scale."""
        return _log_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high, count)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within ``low``..``high``, about ``count`` of them."""
    span = (high - low) / max(count, 1)
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    step = min((m * power for m in (1, 2, 5, 10) if m * power >= span), default=10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) >= 3:
            break
    return ticks


def numbers(values: Sequence[float]) -> list[str]:
    """The numbers of an axis, in one unit: 0.5, 1.0; 0 K, 50 K; 1 M, 2 M; below a thousandth as 3e-4."""
    largest = max((abs(v) for v in values), default=0.0)
    size, unit = next(((s, u) for s, u in ((1e9, " B"), (1e6, " M"), (1e4, " K")) if largest >= s), (1.0, ""))
    size = 1e3 if unit == " K" else size
    if 0 < largest < 1e-3:
        return [_exponent(v) for v in values]
    digits = max((len(f"{v / size:.6g}".partition(".")[2]) for v in values), default=0)
    return [f"{v / size:,.{digits}f}{unit}" if v else "0" for v in values]


def _exponent(value: float) -> str:
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}" if value else "0"


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
