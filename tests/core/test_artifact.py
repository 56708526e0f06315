"""Artifacts: whole or absent, and never other than their manifest says."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from axk1.core import artifact
from axk1.core.errors import ArtifactError


def make(folder, text="hello"):
    with artifact.building(folder) as temporary:
        (temporary / "a.txt").write_text(text)
        artifact.write_manifest(temporary, kind="documents", config={"x": 1}, inputs={"tokenizer": "t"})


def test_manifest_round_trip_and_currency(tmp_path):
    make(tmp_path / "d")
    manifest = artifact.verify(tmp_path / "d", kind="documents")
    assert manifest.versions["python"] == sys.version.split()[0]
    assert artifact.is_current(tmp_path / "d", kind="documents", config={"x": 1}, inputs={"tokenizer": "t"})
    assert not artifact.is_current(tmp_path / "d", kind="documents", config={"x": 2}, inputs={"tokenizer": "t"})
    assert not artifact.is_current(tmp_path / "d", kind="documents", config={"x": 1}, inputs={"tokenizer": "u"})
    assert not artifact.is_current(tmp_path / "e", kind="documents", config={}, inputs={})


def test_a_new_field_at_its_default_makes_nothing_again(tmp_path):
    @dataclass(frozen=True)
    class Part:
        folder: Path
        weight: float = 1.0
        late: int = 3

    @dataclass(frozen=True)
    class Settings:
        parts: tuple[Part, ...]
        inner: Part
        new: str = "as before"

    stored = {"parts": [{"folder": "a", "weight": 2.0}], "inner": {"folder": "b", "weight": 1.0}}
    with artifact.building(tmp_path / "d") as temporary:
        artifact.write_manifest(temporary, kind="documents", config=stored, inputs={})
    same = Settings((Part(Path("a"), 2.0),), Part(Path("b")))
    replace = dataclasses.replace
    others = [
        replace(same, new="other"),
        replace(same, inner=Part(Path("b"), late=4)),
        replace(same, parts=(*same.parts, same.inner)),
        replace(same, parts=(Part(Path("a"), 1.0),)),
    ]
    current = [
        artifact.is_current(tmp_path / "d", kind="documents", config=each, inputs={}) for each in (same, *others)
    ]
    assert current == [True, False, False, False, False]


def test_a_changed_byte_is_found(tmp_path):
    make(tmp_path / "d")
    (tmp_path / "d" / "a.txt").write_text("hellO")
    with pytest.raises(ArtifactError, match="corrupt"):
        artifact.verify(tmp_path / "d")


def test_a_failure_leaves_what_was_there(tmp_path):
    make(tmp_path / "d", "old")
    with pytest.raises(ValueError), artifact.building(tmp_path / "d") as temporary:
        (temporary / "a.txt").write_text("new")
        raise ValueError
    assert (tmp_path / "d" / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "manifest.json").unlink(), "no manifest.json"),
        (lambda d: (d / "manifest.json").write_text("{"), "corrupt"),
        (lambda d: (d / "manifest.json").write_text('{"kind": "documents", "colour": 1}'), "corrupt"),
    ],
)
def test_bad_manifests(tmp_path, spoil, words):
    make(tmp_path / "d")
    spoil(tmp_path / "d")
    with pytest.raises(ArtifactError, match=words) as caught:
        artifact.read_manifest(tmp_path / "d", kind="documents", made_by="axk1 data build")
    assert caught.value.repair == "axk1 data build"


def test_missing_folder_and_wrong_kind(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        artifact.read_manifest(tmp_path / "d", kind="documents")
    make(tmp_path / "d")
    with pytest.raises(ArtifactError, match="holds documents, but shards is needed"):
        artifact.read_manifest(tmp_path / "d", kind="shards")


def test_a_killed_writer_leaves_no_half_folder(tmp_path):
    script = (
        "import sys, time, pathlib; from axk1.core import artifact\n"
        "with artifact.building(pathlib.Path(sys.argv[1])) as t:\n"
        "    (t / 'a.txt').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "d")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "d").exists()
    make(tmp_path / "d")  # what the killed run left is in nobody's way
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_atomic_text_is_old_or_new_under_a_kill(tmp_path):
    path = tmp_path / "x.json"
    artifact.write_text_atomic(path, "0" * 100_000)
    script = (
        "import sys, pathlib; from axk1.core import artifact\n"
        "print('go', flush=True)\n"
        "for i in range(10**6): artifact.write_text_atomic(pathlib.Path(sys.argv[1]), str(i % 10) * 100_000)\n"
    )
    for delay in (0.0, 0.02, 0.05):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "go\n"
        time.sleep(delay)
        process.kill()
        process.wait()
        text = path.read_text()
        assert len(text) == 100_000 and len(set(text)) == 1


def test_what_another_hand_made_is_not_replaced(tmp_path):
    options = {"kind": "checkpoint", "config": {}, "inputs": {}}
    folder = tmp_path / "mine"
    folder.mkdir()
    assert not artifact.is_current(folder, **options)  # an empty folder may be filled
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="files that no command of ours made") as caught:
        artifact.is_current(folder, **options)
    assert "--output" in caught.value.repair
    artifact.write_manifest(folder, kind="shards")
    with pytest.raises(ArtifactError, match="holds shards; checkpoint would replace it"):
        artifact.is_current(folder, **options)
    (folder / artifact.MANIFEST).write_text("{")
    assert not artifact.is_current(folder, **options)  # our own, broken: it is made anew
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="no folder but a file"):
        artifact.is_current(tmp_path / "file", **options)
