"""The shards artifact: what is written is read, and damage is named."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shards_on_disk import random_samples, write_shards

from axk1.core import artifact
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.data.shards import Shards, require_same_tokenizer, sample_key, token_dtype


@pytest.mark.parametrize("vocab_size", [300, 65_536, 65_537, 200_000])
def test_what_is_written_is_read(tmp_path: Path, vocab_size: int) -> None:
    samples = [*random_samples([5, 1, 12, 3], vocab_size=vocab_size), [vocab_size - 1, 0]]
    masks = [[i % 2 == 1 for i in range(len(sample))] for sample in samples]
    shards = write_shards(tmp_path / "s", samples, masks=masks, vocab_size=vocab_size)
    assert len(shards) == len(samples) and shards.vocab_size == vocab_size
    assert shards.tokens.dtype == ("<u2" if vocab_size <= 65_536 else "<u4") == token_dtype(vocab_size)
    assert sorted(shards.sample(i).tolist() for i in range(len(shards))) == sorted(samples)
    names = shards.column("document")
    for i, name in enumerate(names):
        number = int(name[1:])
        assert shards.sample(i).tolist() == samples[number]
        begin = shards.offsets[i]
        assert shards.loss_mask[begin : begin + shards.lengths[i]].tolist() == [int(m) for m in masks[number]]
        assert bytes(shards.keys[i]) == sample_key(samples[number])
    shards.verify_ids()
    assert set(shards.column("licence")) == {"CC0"} and set(shards.column("language")) == {"ko"}


def test_key_is_blake2b_of_uint32_ids() -> None:
    ids = [1, 70_000, 65_535]
    raw = b"".join(index.to_bytes(4, "little") for index in ids)
    assert sample_key(ids) == sample_key(np.array(ids, "<i8")) == hashlib.blake2b(raw, digest_size=16).digest()
    assert sample_key(np.array([1, 2], "<u2")) == sample_key([1, 2]) != sample_key([2, 1])


@given(st.lists(st.integers(0, 99), min_size=1, max_size=9), st.lists(st.integers(0, 99), min_size=1, max_size=9))
def test_keys_differ_when_samples_differ(first: list[int], second: list[int]) -> None:
    assert (sample_key(first) == sample_key(second)) == (first == second)


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    first, second = (write_shards(tmp_path / name, random_samples([4, 9, 2])) for name in "ab")
    assert first.manifest.content_hash == second.manifest.content_hash


@pytest.mark.parametrize("name", ["tokens.bin", "loss_mask.bin"])
@pytest.mark.parametrize("change", ["cut", "longer", "gone"])
def test_damaged_files_are_named(tmp_path: Path, name: str, change: str) -> None:
    write_shards(tmp_path / "text", [[1, 2, 3]], masks=[[False, True, True]])
    path = tmp_path / "text" / name
    content = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if change == "cut" else content + b"\0")
    with pytest.raises(ArtifactError, match=f"are corrupt: {name} ") as caught:
        Shards.open(tmp_path / "text")
    assert caught.value.repair == f"rm -r {tmp_path / 'text'} && axk1 data tokenize recipes/nano/shards-text.toml"


def test_damaged_samples(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", [[1, 2, 3], [4, 5]])
    path = tmp_path / "s" / "samples.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(0, 1), path)
    with pytest.raises(ArtifactError, match="has 1 rows, but 2 are needed"):
        Shards.open(tmp_path / "s")
    offsets = table.column("offset").to_numpy() + 1
    pyarrow.parquet.write_table(table.set_column(0, "offset", [offsets]), path)
    with pytest.raises(ArtifactError, match="points outside"):
        Shards.open(tmp_path / "s")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"samples\.parquet cannot be read"):
        Shards.open(tmp_path / "s")


def test_ids_beyond_the_vocabulary(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "s", [[1, 2, 999]], vocab_size=999)
    with pytest.raises(ArtifactError, match="holds token id 999, but the vocabulary has 999"):
        shards.verify_ids()


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist") as caught:
        Shards.open(tmp_path / "chat")
    assert "axk1 data tokenize recipes/nano/shards-chat.toml" in str(caught.value)
    with artifact.building(tmp_path / "t") as folder:
        artifact.write_manifest(folder, kind="tokenizer")
    with pytest.raises(ArtifactError, match="holds tokenizer, but shards is needed"):
        Shards.open(tmp_path / "t")
    write_shards(tmp_path / "s", [[1, 2]])
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    del manifest["counts"]["vocab_size"]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="its manifest lacks 'vocab_size'"):
        Shards.open(tmp_path / "s")


def test_different_tokenizers(tmp_path: Path) -> None:
    first = write_shards(tmp_path / "a", [[1, 2]])
    second = write_shards(tmp_path / "b", [[1, 2]], tokenizer="u" * 64)
    require_same_tokenizer([first, first], tokenizer_hash="t" * 64)
    with pytest.raises(TokenizerMismatch, match=r"'.*b' were made with the tokenizer uuuuuuuuuuuu, but that of '.*a'"):
        require_same_tokenizer([first, second])
    with pytest.raises(TokenizerMismatch, match="but the tokenizer here is vvvvvvvvvvvv"):
        require_same_tokenizer([first], tokenizer_hash="v" * 64)
