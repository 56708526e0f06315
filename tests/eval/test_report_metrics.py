"""The report reads training logs as runs leave them, killed and resumed ones included."""

import json
import math
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from axk1.eval.report.metrics import read_metrics, smooth, thin

FLOATS = st.floats(-1e6, 1e6) | st.just(math.nan)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_truncated_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    log = read_metrics(write(tmp_path / "m", '{"step": 1, "loss": 5.0}', '{"step": 2, "loss": 4.0}', '{"step": 3, "lo'))
    assert log.column("loss").tolist() == [5.0, 4.0]
    assert log.unreadable == 1


def test_of_a_step_logged_twice_the_later_counts(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": step, "loss": loss}) for step, loss in ((1, 9.0), (2, 8.0), (3, 7.0), (2, 8.5), (3, 7.5))
    ]
    assert read_metrics(write(tmp_path / "m", *lines)).column("loss").tolist() == [9.0, 8.5, 7.5]


def test_missing_and_empty_files_hold_no_steps(tmp_path: Path) -> None:
    assert len(read_metrics(tmp_path / "none")) == 0
    assert len(read_metrics(write(tmp_path / "m", ""))) == 0


def test_what_is_no_number_is_nan(tmp_path: Path) -> None:
    lines = ['{"step": 1, "loss": NaN}', '{"step": 2, "loss": null}', '{"step": 3, "loss": "high"}', '{"step": 4}']
    log = read_metrics(write(tmp_path / "m", *lines, "[1, 2]", '{"step": "x"}', '{"step": true}', "0"))
    assert np.isnan(log.column("loss")).all()
    assert not log.has("loss")
    assert (log.not_finite, log.unreadable) == (3, 4)


def test_expert_load_of_the_steps_that_have_it(tmp_path: Path) -> None:
    loads = ([[0.5, 0.5]], [[0.5, math.nan]], [[0.1], [0.2, 0.3]], [], None, [[0.9, 0.1]])
    lines = [json.dumps({"step": i, "expert_load": load}) for i, load in enumerate(loads)]
    found = read_metrics(write(tmp_path / "m", *lines)).expert_load()
    assert [(i, load.tolist()) for i, load in found] == [(0, [[0.5, 0.5]]), (5, [[0.9, 0.1]])]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(data)
        read_metrics(path)


@given(st.lists(FLOATS, max_size=60), st.integers(1, 20))
def test_smoothing_keeps_gaps_and_bounds(values: list[float], width: int) -> None:
    before = np.array(values, dtype=np.float64)
    after = smooth(before, width)
    assert after.shape == before.shape
    assert (np.isfinite(after) == np.isfinite(before)).all()
    finite = before[np.isfinite(before)]
    if len(finite):
        room = 1e-6 * max(1.0, np.abs(finite).max())
        assert after[np.isfinite(after)].min() >= finite.min() - room
        assert after[np.isfinite(after)].max() <= finite.max() + room


def test_smoothing_is_a_centred_mean() -> None:
    assert smooth(np.array([0.0, 3.0, 6.0, math.nan, 9.0]), 3)[1] == 3.0
    assert smooth(np.array([0.0, 3.0, 6.0, math.nan, 9.0]), 3)[2] == 4.5


@given(st.lists(FLOATS, max_size=500), st.integers(1, 50))
def test_thinning_keeps_the_mean_and_few_points(values: list[float], points: int) -> None:
    y = np.array(values, dtype=np.float64)
    kept = thin(np.arange(len(y), dtype=np.float64), y, points)
    assert len(kept) == min(points, len(y))
    assert any(math.isfinite(v) for _, v in kept) == bool(np.isfinite(y).any())
