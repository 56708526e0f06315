"""The report's charts: well-formed SVG from any numbers, and nothing from data becomes markup."""

import itertools
import math
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from axk1.eval.report.charts import Axis, Dot, DotRow, Line, dot_chart, heat_map, line_chart, track_chart
from axk1.eval.report.svg import Scale, element, numbers, path, round_ticks, text
from axk1.eval.report.words import Words, both, count, span

ANY = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(-1e12, 1e12)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)


def parse(markup: str) -> ET.Element:
    return ET.fromstring(str(markup))


def numbers_in(root: ET.Element) -> list[str]:
    return [v for node in root.iter() for k, v in node.attrib.items() if k in ("x", "y", "x1", "x2", "y1", "y2", "d")]


@given(st.lists(st.tuples(ANY, ANY), max_size=30), st.booleans())
def test_line_chart_is_well_formed_for_any_numbers(points: list[tuple[float, float]], log: bool) -> None:
    lines = [Line("student", points, Words("student", "학생")), Line("control", points[:1], faint=True)]
    root = parse(line_chart(lines, x=Axis("x"), y=Axis(Words("y", "와이"), log=log), label="fig"))
    assert not [v for v in numbers_in(root) if "nan" in v or "inf" in v]


@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=8))
def test_dot_and_track_charts_are_well_formed_for_any_numbers(values: list[tuple[float, float, float]]) -> None:
    rows = [DotRow("task", [Dot(role, *triple) for role in ("teacher", "student")]) for triple in values]
    for root in (
        parse(dot_chart(rows, x=Axis("x"), label="fig", write=str)),
        parse(track_chart([DotRow(row.label, row.dots[1:]) for row in rows], label="fig")),
    ):
        assert not [v for v in numbers_in(root) if "nan" in v or "inf" in v]


@given(st.lists(st.lists(st.floats(0, 64) | st.just(math.nan), min_size=4, max_size=4), min_size=1, max_size=5))
def test_heat_map_draws_a_cell_for_each_number(values: list[list[float]]) -> None:
    rows = [str(i) for i in range(len(values))]
    root = parse(heat_map(values, rows=rows, columns="expert", row_axis="layer", label="fig"))
    finite = sum(math.isfinite(v) for row in values for v in row)
    assert len([n for n in root.iter() if n.attrib.get("class", "").startswith("heat")]) == finite


@given(TEXTS, TEXTS)
def test_text_from_data_stays_text(name: str, value: str) -> None:
    hostile = f"<script>{name}</script>\"'&"
    node = parse(element("g", text(hostile, 0, 0), data_value=value + hostile))
    assert node[0].text == hostile
    assert "<script>" not in both(Words(hostile, hostile))
    assert "<script>" not in both(hostile)


def test_dots_stand_where_their_values_are() -> None:
    row = DotRow("ko", [Dot("teacher", 1.0, 0.9, 1.1), Dot("control", 3.0, 3.0, 3.0), Dot("student", 2.0, 1.8, 2.2)])
    root = parse(dot_chart([row], x=Axis("bits"), label="fig", write=str))
    disc = next(n for n in root.iter() if n.attrib.get("class") == "mark student")
    square = next(n for n in root.iter() if n.attrib.get("class") == "mark control open")
    whiskers = [n for n in root.iter() if n.attrib.get("class") == "whisker student" and n.get("y1") == n.get("y2")]
    assert float(whiskers[0].attrib["x1"]) < float(disc.attrib["cx"]) < float(whiskers[0].attrib["x2"])
    assert float(disc.attrib["cx"]) < float(square.attrib["x"])


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    drawn = str(path([(0, 0), (1, 1), (2, math.nan), (3, 3), (4, 4)], class_="line"))
    assert drawn.count("M") == 2
    assert path([(math.nan, 1.0)]) == ""


def test_end_labels_do_not_touch() -> None:
    lines = [Line(role, [(0, 5), (1, 1 + i / 1000)], role) for i, role in enumerate(("teacher", "student", "control"))]
    root = parse(line_chart(lines, x=Axis("x"), y=Axis("y"), label="fig"))
    heights = sorted(float(n.attrib["y"]) for n in root.iter() if n.attrib.get("class", "").startswith("name"))
    assert len(heights) == 3
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 16.9


@given(FINITE, st.floats(1e-9, 1e12), st.integers(2, 8))
def test_ticks_are_few_and_inside(low: float, span: float, count: int) -> None:
    high = low + span
    ticks = round_ticks(low, high, count)
    assert len(ticks) <= count + 2
    assert all(low - span * 1e-6 <= tick <= high + span * 1e-6 for tick in ticks) or ticks == [low]


def test_axis_numbers_share_unit_and_digits() -> None:
    assert numbers([0.0, 5000.0, 10000.0]) == ["0", "5 K", "10 K"]
    assert numbers([1.8, 2.0, 2.2]) == ["1.8", "2.0", "2.2"]
    assert numbers([500_000.0, 1_000_000.0]) == ["0.5 M", "1.0 M"]
    assert numbers([1e-4, 3e-4]) == ["1e-4", "3e-4"]


def test_logarithmic_scale_has_no_place_for_zero() -> None:
    scale = Scale(0.1, 10, 0, 100, log=True)
    assert scale(1.0) == 50.0
    assert math.isnan(scale(0.0))
    assert math.isnan(scale(math.inf))


def test_counts_and_spans_in_korean() -> None:
    assert count(12_030_000) == ("12.03 M", "1,203만")
    assert count(518_980_000_000) == ("518.98 B", "5,189.8억")
    assert span(185) == ("3 min 05 s", "3분 05초")
