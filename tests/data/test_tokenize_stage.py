"""``axk1 data tokenize``: documents and conversations become shards, all of them, in any amount, or with a reason."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.core import artifact
from axk1.core.config import from_dict
from axk1.core.errors import ArtifactError, AXK1Error, ConfigError
from axk1.core.texts import read_json_lines
from axk1.data.packing import NO_TARGET, PackedBatches
from axk1.data.shards import Shards
from axk1.data.tokenize import ShardsConfig, build_shards, cut_document
from axk1.tokenizer import Tokenizer, spans
from axk1.tokenizer.training import learn

TEXT = "국회는 법률을 만든다. The Assembly makes laws, and the laws bind the Assembly.\n"
BOS, EOS = 7, 8


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "tokenizer"
    folder.mkdir()
    learn(iter([TEXT * 20]), vocab_size=400, reserved_tokens=7).save(folder)
    return folder


def write_artifact(folder: Path, kind: str, lines: list[dict], **licences: str) -> Path:
    with artifact.building(folder) as path:
        for name in ("train", "heldout"):
            with gzip.open(path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        artifact.write_manifest(path, kind=kind, licences=licences)
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    lines = [
        {
            "id": f"{source}/{i}",
            "text": f"{i} {TEXT * (i % 7)}<|endoftext|>",
            "source": source,
            "licence": licence,
            "language": language,
        }
        for source, licence, language in (("bills", "CC BY 4.0", "ko"), ("docs", "MIT", "en"))
        for i in range(40)
    ]
    return write_artifact(tmp_path / "documents", "documents", lines, bills="CC BY 4.0, the Assembly", docs="MIT, them")


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    lines = []
    for i in range(30):
        answer = {"role": "assistant", "content": f"{i}<|im_end|>"}
        if i % 2:
            answer["reasoning_content"] = "the laws " * (40 if i == 29 else 2)
        question = {"role": "user", "content": f"국회 {i}?"}
        mode = "think" if i % 2 else "no_think"
        lines.append(
            {"id": f"c{i}", "messages": [question, answer], "mode": mode, "language": "ko", "task": f"t{i % 2}"}
        )
    lines.append({"id": "none", "messages": [lines[0]["messages"][0]], "mode": "think", "language": "ko", "task": "t0"})
    return write_artifact(tmp_path / "conversations", "conversations", lines, **{"reasoning-gym 0.1": "Apache-2.0"})


def config(tmp_path: Path, tokenizer: Path, *inputs: Path, **options: object) -> ShardsConfig:
    values = {"output": tmp_path / "shards", "tokenizer": tokenizer, "inputs": inputs, "max_length": 64, **options}
    return from_dict(ShardsConfig, values)


@given(st.lists(st.integers(10, 99), max_size=200), st.integers(8, 70))
def test_documents_are_cut_without_loss(ids: list[int], max_length: int) -> None:
    samples = cut_document(ids, bos=BOS, eos=EOS, max_length=max_length)
    assert [index for sample in samples for index in sample[1:]] == [*ids, EOS]
    assert all(sample[0] == BOS and 2 <= len(sample) <= max_length for sample in samples)
    assert all(len(sample) == max_length for sample in samples[:-2])
    if len(samples) > 1:
        assert len(samples[-1]) > max_length // 8


def test_documents(tmp_path: Path, tokenizer: Path, documents: Path) -> None:
    output = build_shards(config(tmp_path, tokenizer, documents))
    manifest = artifact.verify(output, kind="shards")
    shards, loaded = Shards.open(output), Tokenizer.load(tokenizer)
    assert shards.tokenizer_hash == loaded.content_hash and shards.loss_mask is None
    originals = {record["id"]: record for record in read_json_lines(documents / "train.jsonl.gz")}
    names, parts = shards.column("document"), {name: [] for name in originals}
    for i, name in enumerate(names):
        ids = shards.sample(i).tolist()
        assert ids[0] == loaded.bos_id and len(ids) <= 64
        parts[name].append(ids[1:])
    for name, record in originals.items():
        ids = loaded.encode(record["text"], special=False)
        pieces = parts[name]
        assert sum(map(len, pieces)) == len(ids) + 1
        assert [piece[-1] == loaded.eos_id for piece in pieces].count(True) == 1
        assert sorted(index for piece in pieces for index in piece) == sorted([*ids, loaded.eos_id])
    assert len(shards.tokens) == manifest.counts["tokens"] == sum(manifest.counts["by_source"].values())
    assert manifest.counts["documents"] == 80 and manifest.counts["by_language"].keys() == {"ko", "en"}
    rows = set(zip(shards.column("source"), shards.column("licence"), shards.column("language"), strict=True))
    assert rows == {("bills", "CC BY 4.0", "ko"), ("docs", "MIT", "en")}
    assert manifest.licences == {"bills": "CC BY 4.0, the Assembly", "docs": "MIT, them"}
    assert names != sorted(names)  # in random order


def test_conversations(tmp_path: Path, tokenizer: Path, conversations: Path) -> None:
    output = build_shards(config(tmp_path, tokenizer, conversations))
    shards, loaded = Shards.open(output), Tokenizer.load(tokenizer)
    counts = shards.manifest.counts
    assert counts["conversations"] == 31 and counts["samples"] == len(shards) == 29
    assert counts["dropped"] == {"too_long": 1, "without_assistant_turn": 1}
    assert set(shards.column("licence")) == {"Apache-2.0"} and set(shards.column("source")) == {"t0", "t1"}
    originals = {record["id"]: record for record in read_json_lines(conversations / "train.jsonl.gz")}
    for i, name in enumerate(shards.column("document")):
        record, ids = originals[name], shards.sample(i)
        begin = shards.offsets[i]
        mask = shards.loss_mask[begin : begin + len(ids)].astype(bool)
        pieces = spans(record["messages"], enable_thinking=record["mode"] == "think")
        assert loaded.decode(ids.tolist()) == "".join(text for text, _ in pieces)
        assert loaded.decode(ids[mask].tolist()) == "".join(text for text, target in pieces if target)
        assert ids.tolist().count(loaded.im_end_id) == 2  # the one that the answer spells is plain text
    assert counts["targets"] == int(shards.loss_mask.sum())


def test_targets_of_batches_are_what_the_assistant_writes(tmp_path: Path, tokenizer: Path, conversations: Path) -> None:
    shards, loaded = Shards.open(build_shards(config(tmp_path, tokenizer, conversations))), Tokenizer.load(tokenizer)
    batches = PackedBatches([shards], [1.0], sequence_length=64, rows=1, seed=0)
    names = shards.column("document")
    originals = {record["id"]: record for record in read_json_lines(conversations / "train.jsonl.gz")}
    for step in range(batches.rows_per_epoch[0]):
        batch = batches.batch(step)
        for row, column, _, sample, length in batch.samples.tolist():
            targets = batch.targets_BT[row, column : column + length]
            record = originals[names[sample]]
            wanted = [
                text for text, target in spans(record["messages"], enable_thinking=record["mode"] == "think") if target
            ]
            assert loaded.decode(targets[targets != NO_TARGET].tolist()) == "".join(wanted)


def test_same_bytes_again(tmp_path: Path, tokenizer: Path, documents: Path) -> None:
    first = build_shards(config(tmp_path, tokenizer, documents))
    before = (first / "manifest.json").stat().st_mtime_ns
    assert (build_shards(config(tmp_path, tokenizer, documents)) / "manifest.json").stat().st_mtime_ns == before
    second = build_shards(config(tmp_path, tokenizer, documents, output=tmp_path / "again"))
    assert artifact.read_manifest(first).content_hash == artifact.read_manifest(second).content_hash
    other = build_shards(config(tmp_path, tokenizer, documents, output=tmp_path / "other", seed=1))
    keys = [np.sort(Shards.open(folder).keys.view("S16").ravel()) for folder in (first, other)]
    assert np.array_equal(*keys) and artifact.content_hash(first) != artifact.content_hash(other)


def test_limits(tmp_path: Path, tokenizer: Path, documents: Path) -> None:
    def build(name: str, **options: object) -> Shards:
        return Shards.open(build_shards(config(tmp_path, tokenizer, documents, output=tmp_path / name, **options)))

    everything, capped = build("all"), build("capped", max_tokens=1500)
    assert 1400 < len(capped.tokens) <= 1500 < len(everything.tokens)
    assert set(capped.column("source")) == {"bills", "docs"}
    per_source = build("sources", max_tokens_per_source={"bills": 500, "docs": 0})
    assert set(per_source.column("source")) == {"bills"} and 400 < len(per_source.tokens) <= 500
    # A larger limit only adds to a smaller one.
    assert {bytes(key) for key in per_source.keys} <= {bytes(key) for key in everything.keys}
    more = build("more", max_tokens_per_source={"bills": 900, "docs": 0})
    assert {bytes(key) for key in per_source.keys} <= {bytes(key) for key in more.keys}


def test_heldout_part(tmp_path: Path, tokenizer: Path, documents: Path) -> None:
    (documents / "train.jsonl.gz").unlink()
    shards = Shards.open(build_shards(config(tmp_path, tokenizer, documents, split="heldout")))
    assert shards.manifest.counts["documents"] == 80


def test_another_tokenizer_or_template_is_another_artifact(
    tmp_path: Path, tokenizer: Path, conversations: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = tmp_path_factory.mktemp("changed")
    Tokenizer.load(tokenizer).save(changed)
    output = build_shards(config(tmp_path, changed, conversations))
    before = Shards.open(output).manifest
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n<think>", "assistant\\n\\n<think>"))
    build_shards(config(tmp_path, changed, conversations))
    after = Shards.open(output).manifest
    assert after.content_hash != before.content_hash and after.inputs["tokenizer"] == before.inputs["tokenizer"]


def test_dry_run_writes_nothing(tmp_path: Path, tokenizer: Path, documents: Path) -> None:
    build_shards(config(tmp_path, tokenizer, documents), dry_run=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents"]


def test_failures_leave_nothing_behind(
    tmp_path: Path, tokenizer: Path, documents: Path, conversations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: type[AXK1Error], message: str, *inputs: Path, **options: object) -> None:
        with pytest.raises(error, match=message):
            build_shards(config(tmp_path, options.pop("tokenizer", tokenizer), *inputs, **options))

    fails(ArtifactError, "has no tokenizer.json.*\n.*axk1 tokenizer train", documents, tokenizer=tmp_path / "none")
    fails(ArtifactError, "does not exist", tmp_path / "none")
    fails(ConfigError, "artifacts of one kind", documents, conversations)
    fails(
        ConfigError,
        "max_tokens_per_source = 'bill' is not allowed; allowed: bills, docs",
        documents,
        max_tokens_per_source={"bill": 1},
    )
    fails(ConfigError, "nothing is left to write", documents, max_tokens=1)
    fails(ConfigError, "split = 'test' is not allowed", documents, split="test")
    fails(ConfigError, "max_length = 7 is not allowed", documents, max_length=7)
    fails(ConfigError, "role robot is unknown", write_artifact(
        tmp_path / "robots", "conversations",
        [{"id": "1", "messages": [{"role": "robot", "content": ""}], "mode": "think", "language": "ko", "task": "t"}],
    ))  # fmt: skip
    fails(ArtifactError, "has a line without 'mode'", write_artifact(
        tmp_path / "modes", "conversations", [{"id": "1", "messages": [], "language": "ko", "task": "t"}]
    ))  # fmt: skip
    path = documents / "train.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(ArtifactError, r"train\.jsonl\.gz' is corrupt at line \d+", documents)
    path.write_bytes(whole)
    monkeypatch.setattr("axk1.data.tokenize.artifact.write_manifest", lambda *_, **__: 1 / 0)  # killed at the last step
    with pytest.raises(ZeroDivisionError):
        build_shards(config(tmp_path, tokenizer, documents))
    assert {path.name for path in tmp_path.iterdir()} == {"documents", "conversations", "robots", "modes"}


def test_an_old_artifact_survives_a_failed_build(
    tmp_path: Path, tokenizer: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = artifact.verify(build_shards(config(tmp_path, tokenizer, documents)))
    with monkeypatch.context() as patch:
        patch.setattr("axk1.data.tokenize.artifact.write_manifest", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_shards(config(tmp_path, tokenizer, documents, max_length=32))
    assert artifact.verify(tmp_path / "shards") == before
