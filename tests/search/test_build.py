"""``axk1 search build``: what is read, what is listed, what survives a kill."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axk1.cli import dispatch
from axk1.core.errors import AXK1Error
from axk1.search.build import BuildConfig, build, compare
from axk1.search.documents.sources import Source
from axk1.search.index.index import Index
from axk1.search.index.store import Store

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
from small_encoder import Triples
from axk1.search.build import *
folder = Path(sys.argv[1])
build(BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1), encoder=Triples())
"""


def config_of(folder: Path, **values: object) -> BuildConfig:
    return BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1, **values)


def write(folder: Path, **texts: str) -> None:
    (folder / "pages").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "pages" / f"{name}.txt").write_text(text, encoding="utf-8")


def test_the_recipe_of_this_repository_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    recipe = ["search", "build", "recipes/search/docs.toml", "--output", str(tmp_path / "index")]
    dispatch([*recipe, "--dry-run"])
    assert not (tmp_path / "index").exists()
    dispatch(recipe)
    hits = dispatch(
        ["search", "find", "How does a student learn from its teacher?", "--index", str(tmp_path / "index")]
    )
    assert "docs/distillation.md" in {hit.passage.document for hit in hits}
    shown = capsys.readouterr().out
    assert hits[0].passage.title in shown and hits[0].passage.section in shown


def test_only_changed_files_are_read_again(tmp_path):
    write(tmp_path, a="one", b="two", c="three")
    build(config_of(tmp_path))
    ids = {hit.passage.id for hit in Index.open(tmp_path / "index").search("one three")}
    os.utime(tmp_path / "pages/a.txt", (1, 1))  # a new time is no new content
    write(tmp_path, b="two and more")
    (tmp_path / "pages/c.txt").unlink()
    store = Store(tmp_path / "index")
    changes = compare(config_of(tmp_path), store)
    assert (list(changes.changed), changes.removed, changes.same) == (["pages/b.txt"], ("pages/c.txt",), 1)
    build(config_of(tmp_path))
    assert {hit.passage.id for hit in Index.open(tmp_path / "index").search("one")} < ids
    changes = compare(config_of(tmp_path), store)
    assert (changes.changed, changes.removed, changes.same) == ({}, (), 2)


def test_an_unreadable_file_is_listed_and_stops_nothing(tmp_path):
    write(tmp_path, a="one")
    (tmp_path / "pages/b.pdf").write_bytes(b"%PDF-1.4 and no more")
    (tmp_path / "pages/c.docx").write_bytes(b"PK\x03\x04")
    index = Index.open(build(config_of(tmp_path)))
    assert [name for name, _ in index.problems()] == ["pages/b.pdf", "pages/c.docx"]
    assert all(why for _, why in index.problems()) and len(index) == 1


def test_lost_and_damaged_parts_are_made_anew(tmp_path):
    write(tmp_path, **{f"n{number}": f"word{number} shared" for number in range(30)})
    index = build(config_of(tmp_path))
    for harm in (shutil.rmtree, lambda folder: (folder / "meta.json").write_text("{")):
        (words,) = index.glob("words-*")
        harm(words)
        build(config_of(tmp_path))
        assert len(Index.open(index).search("shared", limit=50)) == 30


def test_another_size_of_passages_reads_everything_again(tmp_path):
    write(tmp_path, a="A sentence of some words. " * 100)
    assert len(Index.open(build(config_of(tmp_path)))) == 3
    assert len(Index.open(build(config_of(tmp_path, most_characters=500)))) == 6


def test_personal_data_are_masked_before_anything_is_kept(tmp_path):
    text = "# 연락\n\n담당자 전화는 010-1234-5678 이다.\n\n# 장소\n\n회의실은 3층에 있다. 문의는 010-1234-5678."
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/a.md").write_text(text, encoding="utf-8")
    index = build(config_of(tmp_path))
    with contextlib.closing(Index.open(index)) as open_index:
        assert "010-1234-5678" in open_index.document_text("pages/a.md")
    whole = Index.open(build(config_of(tmp_path, mask_personal=True)))
    kept = whole.document_text("pages/a.md")
    assert kept == text.replace("010-1234-5678", "[PHONE_1]")
    (hit, *_) = whole.search("회의실")
    assert hit.passage.section == "장소" and kept[hit.passage.start : hit.passage.end] == hit.passage.text
    whole.close()
    stored = b"".join(path.read_bytes() for path in index.rglob("*") if path.is_file())
    assert b"1234-5678" not in stored


def test_what_is_no_index_is_not_touched(tmp_path):
    write(tmp_path, a="one")
    (tmp_path / "index").mkdir()
    (tmp_path / "index/mine.txt").write_text("keep")
    with pytest.raises(AXK1Error, match="no search index"):
        build(config_of(tmp_path))
    with pytest.raises(AXK1Error, match="holds no search index"):
        Index.open(tmp_path / "pages")


def test_a_build_killed_at_any_moment_goes_on_and_readers_stay_right(tmp_path):
    rng = random.Random(0)
    words = [f"word{number:03}" for number in range(300)]
    texts = {f"n{number:03}": " ".join(rng.choices(words, k=150)) for number in range(160)}
    write(tmp_path, **texts)
    build(config_of(tmp_path))
    reader, environment = Index.open(tmp_path / "index"), {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/search"}
    for turn in range(5):
        changed = {name: f"turn{turn} {' '.join(rng.choices(words, k=150))}" for name in rng.sample(list(texts), 80)}
        texts |= changed
        write(tmp_path, **changed)
        line = [sys.executable, "-c", BUILD, str(tmp_path)]
        process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)
        process.stderr.readline()  # the plan is printed: it has begun
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for hit in reader.search("word001 word002", limit=20):
            text = reader.document_text(hit.passage.document)
            assert text[hit.passage.start : hit.passage.end] == hit.passage.text
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], env=environment, check=True, capture_output=True)
    whole = Index.open(tmp_path / "index", vectors=False)
    assert {facts.name for facts in whole.documents()} == {f"pages/{name}.txt" for name in texts}
    assert all(whole.document_text(f"pages/{name}.txt") == text for name, text in texts.items())
    holding = sum("word001" in text.split() for text in texts.values())
    found = whole.search("word001", limit=2000)
    assert (
        len({hit.passage.document for hit in found})
        == holding
        == len({h.passage.document for h in reader.search("word001", limit=2000)})
    )
    store = Store(tmp_path / "index")
    assert store.connection.execute("SELECT count(*) FROM vectors").fetchone()[0] == len(whole)
    assert store.connection.execute("SELECT count(*) FROM forgotten").fetchone()[0] == 0
    assert len(list((tmp_path / "index").glob("vectors-*"))) == 1 == len(list((tmp_path / "index").glob("words-*")))
