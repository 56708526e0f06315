import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.train.config import OptimizerConfig
from axk1.train.schedule import learning_rate_factor


def factors(total: int, **settings: object) -> list[float]:
    config = OptimizerConfig(**settings)
    return [learning_rate_factor(step, total, config) for step in range(total)]


def test_wsd_rises_stays_and_decays():
    values = factors(100, warmup_fraction=0.1, decay_fraction=0.2, decay_shape="linear", min_lr_ratio=0.1)
    assert values[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert values[10:80] == [1.0] * 70
    assert values[80] == pytest.approx(0.1 + 0.9 * (1 - 1 / 21))
    assert values[99] == pytest.approx(0.1 + 0.9 * (1 - 20 / 21))


def test_one_minus_sqrt_decays_faster_at_first_and_ends_at_the_same_place():
    linear = factors(100, decay_shape="linear", decay_fraction=0.5)
    root = factors(100, decay_shape="1-sqrt", decay_fraction=0.5)
    assert all(r < straight for r, straight in zip(root[50:], linear[50:], strict=True))
    assert root[:50] == linear[:50]
    assert root[99] == pytest.approx(1 - (50 / 51) ** 0.5)


def test_cosine_is_half_way_down_in_the_middle():
    values = factors(100, schedule="cosine", warmup_steps=0)
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.5)


def test_constant_stays():
    assert factors(10, schedule="constant", warmup_steps=2) == [0.5, *[1.0] * 9]


@given(
    total=st.integers(1, 300),
    schedule=st.sampled_from(["wsd", "cosine", "constant"]),
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
    shape=st.sampled_from(["1-sqrt", "linear"]),
    floor=st.floats(0, 1),
)
def test_any_course_lies_between_nothing_and_the_peak_and_never_rises_after_the_warm_up(
    total, schedule, warmup, decay, shape, floor
):
    settings = {"schedule": schedule, "warmup_fraction": warmup, "decay_fraction": decay, "decay_shape": shape}
    values = factors(total, **settings, min_lr_ratio=floor)
    assert all(0 < value <= 1 for value in values)
    after = values[round(warmup * total) :]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(after))
    assert all(value >= floor - 1e-12 for value in after)
