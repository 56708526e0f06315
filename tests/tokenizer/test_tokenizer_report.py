"""``axk1 tokenizer report``: figures that can be counted by hand."""

import gzip
import json
from pathlib import Path

import pytest

from axk1.core import artifact
from axk1.core.errors import ArtifactError, ConfigError
from axk1.tokenizer import Tokenizer
from axk1.tokenizer.report import ReportConfig, report, tokenizer_report
from axk1.tokenizer.training import learn


@pytest.fixture
def world(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """Folders ``ours``, ``bytes`` (a tokenizer that knows only bytes) and ``documents``."""
    tokenizer.save(tmp_path / "ours")
    learn(iter([]), vocab_size=272, reserved_tokens=7).save(tmp_path / "bytes")
    held_out = [
        {"text": "국회는 12조", "language": "ko"},
        {"text": "the bill", "language": "en"},
        {"text": "", "language": "ko"},
    ]
    with artifact.building(tmp_path / "documents") as folder:
        with gzip.open(folder / "heldout.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in held_out)
        artifact.write_manifest(folder, kind="documents")
    return tmp_path


def test_bytes_are_counted(world: Path) -> None:
    (row,) = tokenizer_report(Tokenizer.load(world / "bytes"), {"ko": ["국회는 12조", "가"]})
    assert (row.samples, row.tokens_per_sample) == (2, (4 * 3 + 3 + 3) / 2)
    assert row.bytes_per_token == 1.0
    assert row.whole_syllables == 0.0


def test_table_beside_another(world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    (world / "code.py").write_text("return n\n")
    (world / "more.jsonl").write_text('{"text": "위원회"}\n{"text": "법률"}\n{"text": "예산"}\n')
    rows = report(
        ReportConfig(
            tokenizer=Path("ours"),
            documents=Path("documents"),
            files=(Path("code.py"), Path("more.jsonl")),
            against=(Path("bytes"),),
            samples=2,
            output=world / "table.json",
        )
    )
    table = {(row.text, row.tokenizer): row for row in rows}
    assert set(table) == {(text, name) for text in ("ko", "en", "code.py", "more.jsonl") for name in ("ours", "bytes")}
    assert table["ko", "ours"].samples == 1 and table["more.jsonl", "ours"].samples == 2
    assert table["en", "ours"].whole_syllables is None
    assert all(
        table[text, "ours"].bytes_per_token > table[text, "bytes"].bytes_per_token for text in ("ko", "en", "code.py")
    )
    printed = capsys.readouterr().out
    assert printed.count(" bytes ") == 4 and "bytes/token" in printed
    assert len(json.loads((world / "table.json").read_text())) == 8


def test_whole_syllables(tokenizer: Tokenizer) -> None:
    (row,) = tokenizer_report(tokenizer, {"ko": [" 규정하고뷁"]})  # 뷁 does not occur in the training text
    assert row.whole_syllables == pytest.approx(4 / 5)


def test_what_cannot_be_measured(world: Path) -> None:
    with pytest.raises(ConfigError, match="documents"):
        ReportConfig(documents=None)
    (world / "empty.txt").write_text("")
    with pytest.raises(ConfigError, match="no text to measure"):
        report(ReportConfig(tokenizer=world / "ours", documents=None, files=(world / "empty.txt",)))
    with pytest.raises(ArtifactError, match="cannot be read as text"):
        report(ReportConfig(tokenizer=world / "ours", documents=None, files=(world / "nothing.txt",)))
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json"):
        report(ReportConfig(tokenizer=world / "nothing", documents=world / "documents"))
