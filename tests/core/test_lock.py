"""The lock of what is being written."""

import pytest

from axk1.core.errors import ArtifactError
from axk1.core.lock import locked


def test_the_lock_is_free_again_after_an_error_and_leaves_nothing(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), locked(tmp_path / "x", "writing"):
            raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_second_one_is_refused_and_the_first_goes_on(tmp_path):
    with locked(tmp_path / "x", "writing"):
        for _ in range(2):
            with pytest.raises(ArtifactError, match=r"process .* is writing"), locked(tmp_path / "x", "writing"):
                raise AssertionError("two at once")
    assert not list(tmp_path.iterdir())
