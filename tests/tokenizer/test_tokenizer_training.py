"""``axk1 tokenizer train``: the same bytes every time, exactly as many entries as asked for, nothing half-written."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from axk1.core import artifact
from axk1.core.config import from_dict
from axk1.core.errors import ArtifactError, ConfigError
from axk1.tokenizer import Tokenizer
from axk1.tokenizer.training import TokenizerConfig, learn, train_tokenizer


def write_artifact(folder: Path, kind: str, lines: list[dict]) -> Path:
    with artifact.building(folder) as path:
        with gzip.open(path / "train.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        artifact.write_manifest(path, kind=kind)
    return folder


@pytest.fixture
def documents(tmp_path: Path, texts: list[str]) -> Path:
    languages = ["ko", "ko", "ko", "en", "en", "code"]
    lines = [
        {"id": f"{i}/{copy}", "text": f"{text} {copy}", "language": language}
        for copy in range(20)
        for i, (text, language) in enumerate(zip(texts, languages, strict=True))
    ]
    return write_artifact(tmp_path / "documents", "documents", lines)


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    answer = {"role": "assistant", "content": "셋둘하나셋둘하나", "reasoning_content": "거꾸로거꾸로"}
    line = {"messages": [{"role": "user", "content": "?"}, answer], "language": "ko"}
    return write_artifact(tmp_path / "conversations", "conversations", [{"id": f"c{i}", **line} for i in range(500)])


def config(tmp_path: Path, *inputs: Path, **options: object) -> TokenizerConfig:
    return from_dict(TokenizerConfig, {"output": tmp_path / "out", "inputs": inputs, "vocab_size": 500, **options})


def test_artifact(tmp_path: Path, documents: Path, conversations: Path) -> None:
    output = train_tokenizer(config(tmp_path, documents, conversations))
    manifest = artifact.verify(output, kind="tokenizer")
    tokenizer = Tokenizer.load(output)
    assert tokenizer.vocab_size == manifest.counts["vocab_size"] == 500
    assert manifest.counts["merges"] == 500 - 256 - 16
    assert sorted(manifest.inputs.values()) == sorted(
        artifact.read_manifest(path).content_hash for path in (documents, conversations)
    )
    assert set(manifest.counts["bytes"]) == {"ko", "en", "code"}
    alone = Tokenizer.load(train_tokenizer(config(tmp_path, documents)))
    reasoning = "거꾸로거꾸로"  # what the conversations say
    assert len(tokenizer.encode(reasoning)) < len(alone.encode(reasoning))


def test_again_is_up_to_date_and_a_change_is_not(tmp_path: Path, documents: Path, conversations: Path) -> None:
    output = train_tokenizer(config(tmp_path, documents))
    before = (output / "manifest.json").stat().st_mtime_ns
    train_tokenizer(config(tmp_path, documents))
    assert (output / "manifest.json").stat().st_mtime_ns == before
    train_tokenizer(config(tmp_path, documents, conversations))
    assert (output / "manifest.json").stat().st_mtime_ns != before


def test_same_bytes_on_any_number_of_cores(tmp_path: Path, documents: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from axk1.tokenizer.training import *;"
        "train_tokenizer(TokenizerConfig(Path(sys.argv[1]), (Path(sys.argv[2]),), vocab_size=700, max_bytes=40_000))"
    )
    hashes = set()
    for threads in "14":
        output = tmp_path / f"out{threads}"
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run(
            [sys.executable, "-c", script, output, documents], check=True, env=environment, capture_output=True
        )
        hashes.add(artifact.verify(output).content_hash)
    assert len(hashes) == 1


def test_too_little_text_fills_up_with_reserved_tokens() -> None:
    tokenizer = learn(iter(["가나다"]), vocab_size=400, reserved_tokens=7)
    assert tokenizer.vocab_size == 400
    assert len(tokenizer.special_tokens) > 100
    assert tokenizer.decode(tokenizer.encode("가나다 <|reserved_99|>")) == "가나다 <|reserved_99|>"


def test_shares_of_languages(tmp_path: Path, documents: Path) -> None:
    shares = {"ko": 0.2, "code": 0.8}
    output = train_tokenizer(config(tmp_path, documents, shares=shares, max_bytes=20_000))
    read = artifact.read_manifest(output).counts["bytes"]
    assert set(read) == {"ko", "code"}
    assert 0.05 < read["ko"] / sum(read.values()) < 0.4
    assert 10_000 < sum(read.values()) < 30_000


def test_dry_run_writes_nothing(tmp_path: Path, documents: Path) -> None:
    train_tokenizer(config(tmp_path, documents), dry_run=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 271}, "vocab_size = 271 is not allowed; allowed: at least 272"),
        ({"inputs": []}, "inputs = .* allowed: at least one"),
        ({"shares": {"ko": 0.5}}, "shares that add up to 1, not 0.5"),
        ({"shares": {"ko": 0.0, "en": 1.0}}, "shares.ko = 0.0 is not allowed"),
        ({"max_bytes": 0}, "max_bytes = 0 is not allowed"),
        ({"vocab": 300}, "unknown key 'vocab', did you mean 'vocab_size'"),
    ],
)
def test_bad_recipes(tmp_path: Path, options: dict, message: str) -> None:
    values = {"output": tmp_path / "out", "inputs": [tmp_path], **options}
    with pytest.raises(ConfigError, match=message):
        from_dict(TokenizerConfig, values)


def test_bad_inputs_leave_nothing_behind(tmp_path: Path, documents: Path) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist\n.*axk1 data build"):
        train_tokenizer(config(tmp_path, tmp_path / "nowhere" / "documents"))
    with pytest.raises(ConfigError, match=r"shares = \['ja'\].*languages of the inputs: code, en, ko"):
        train_tokenizer(config(tmp_path, documents, shares={"ja": 1.0}))
    with pytest.raises(ConfigError, match="hold no text"):
        train_tokenizer(config(tmp_path, write_artifact(tmp_path / "empty", "documents", [])))
    with pytest.raises(ArtifactError, match="a line without 'language'"):
        train_tokenizer(config(tmp_path, write_artifact(tmp_path / "bad", "documents", [{"id": "1", "text": "x"}])))
    with pytest.raises(ArtifactError, match="holds checkpoint, but documents or conversations"):
        train_tokenizer(config(tmp_path, write_artifact(tmp_path / "model", "checkpoint", [])))
    path = documents / "train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"train\.jsonl\.gz' is corrupt at line"):
        train_tokenizer(config(tmp_path, documents))
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
