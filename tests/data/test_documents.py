"""The whole stage, from archives on an index of our own to the artifact."""

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from axk1.core import artifact
from axk1.core.config import from_dict, load_toml, to_dict
from axk1.core.errors import ArtifactError, ConfigError, SourceError
from axk1.data.deduplicate import shingle_hashes
from axk1.data.document import Document, read_documents, write_documents
from axk1.data.documents import DocumentsConfig, build_documents
from axk1.data.download import cache_folder

SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초코토포호"
LETTERS = "aeioubcdfghklmnprstvw"
BASE = {"licence": "CC BY 4.0", "attribution": "A. Nonymous"}


def prose(seed: int, alphabet: str, words: int = 120) -> str:
    draw = random.Random(seed)
    made = ["".join(draw.choices(alphabet, k=draw.randint(2, 6))) for _ in range(words)]
    return ". ".join(" ".join(made[at : at + 12]) for at in range(0, words, 12)) + "."


def tar(top: str, files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        setup = b"raise SystemExit('set-up code was run')"
        info = tarfile.TarInfo(f"{top}/setup.py")
        info.size = len(setup)
        archive.addfile(info, io.BytesIO(setup))
    return buffer.getvalue()


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def bills_archive() -> bytes:
    """60 bills; the last ten are of 2026, two of them repeat older ones nearly word by word."""
    texts = [prose(n, SYLLABLES) for n in range(60)]
    texts[55] = texts[3].replace("가", "각")[:-20]
    texts[56] = texts[4] + " 덧붙임."
    texts[20] = texts[10] + " 끝."  # and a duplicate within the training part
    bills, reasons = [], []
    for number, text in enumerate(texts):
        date = f"2026-01-{number - 49:02d}" if number >= 50 else f"20{10 + number % 15}-05-01"
        bills.append({"BILL_ID": f"B{number}", "BILL_NO": number, "BILL_NAME": f"법 {number}", "PROPOSE_DT": date})
        reasons.append({"BILL_ID": f"B{number}", "propose_reason": text})
    padding = random.Random(1).randbytes(200_000)
    tables = {"data/bills.parquet": parquet(bills), "data/bill_texts.parquet": parquet(reasons)}
    return tar("bills-0.1.0", tables | {"assets/picture.png": padding})


def docs_archive() -> bytes:
    pages = {f"docs/p{n}.md": f"# Page {n}\n\n!!! note\n    {prose(100 + n, LETTERS)}" for n in range(60)}
    return tar("docs-2.0", pages | {"docs/short.md": "# Short", "docs/ko/a.md": "# 한글\n\n" + prose(999, SYLLABLES)})


@pytest.fixture
def recipe(http_index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A recipe of two packages on the index that the test's pip is configured for."""
    monkeypatch.setenv("AXK1_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", http_index.url)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "")
    bills, docs = bills_archive(), docs_archive()
    return {
        "output": str(tmp_path / "out" / "documents"),
        "source": [
            BASE
            | {"kind": "sdist", "name": "bills", "version": "0.1.0", "language": "ko", "parser": "assembly-bills"}
            | {"sha256": http_index.add("bills", "bills-0.1.0.tar.gz", bills), "archive_bytes": len(bills)}
            | {"heldout_from": "2026-01-01"},
            BASE
            | {"kind": "sdist", "name": "docs", "version": "2.0", "language": "en", "parser": "markdown"}
            | {"sha256": http_index.add("docs", "docs-2.0.tar.gz", docs), "include": ["docs/*.md"]}
            | {"heldout_fraction": 0.2},
        ],
    }


def build(recipe: dict, **options) -> Path:
    return build_documents(from_dict(DocumentsConfig, recipe, where="recipe.toml"), **options)


def removed(folder: Path) -> dict[str, str]:
    with gzip.open(folder / "removed.jsonl.gz", "rt") as file:
        return {record["id"]: record["reason"] for record in map(json.loads, file)}


def test_what_is_kept_held_out_and_removed(recipe):
    folder = build(recipe)
    train, heldout = list(read_documents(folder / "train.jsonl.gz")), list(read_documents(folder / "heldout.jsonl.gz"))
    assert {d.id for d in heldout if d.source == "bills"} == {f"bills/{n}" for n in range(50, 60)} - {
        "bills/55",
        "bills/56",
    }
    assert all(d.date < "2026-01-01" for d in train if d.source == "bills")
    reasons = removed(folder)
    assert reasons["docs/docs/short.md"] == "too short"
    assert reasons["docs/docs/ko/a.md"] == "wrong language"
    assert [i for i, reason in reasons.items() if reason.startswith("near-duplicate: of bills/")] in (
        ["bills/20"],
        ["bills/10"],
    )
    assert {i for i, reason in reasons.items() if reason.startswith("held-out text")} == {"bills/55", "bills/56"}
    ids = [d.id for d in train + heldout] + list(reasons)
    assert len(ids) == len(set(ids)) == 122
    assert all("!!!" not in d.text for d in train)
    assert (train[0].licence, train[0].language in ("ko", "en")) == ("CC BY 4.0", True)


def test_no_heldout_document_shares_half_of_its_shingles_with_training(recipe):
    folder = build(recipe)
    seen = {h for d in read_documents(folder / "train.jsonl.gz") for h in shingle_hashes(d.text, 30).tolist()}
    checked = 0
    for document in read_documents(folder / "heldout.jsonl.gz"):
        hashes = shingle_hashes(document.text, 30).tolist()
        assert sum(h in seen for h in hashes) < 0.5 * len(hashes)
        checked += 1
    assert checked >= 10


def test_manifest_and_card_say_what_it_is(recipe):
    folder = build(recipe | {"title": "Toy", "description": "Words of the recipe."})
    manifest = artifact.verify(folder, kind="documents")
    assert manifest.licences == {"bills (ko)": "CC BY 4.0; A. Nonymous", "docs (en)": "CC BY 4.0; A. Nonymous"}
    assert manifest.inputs == {"bills (ko)": recipe["source"][0]["sha256"], "docs (en)": recipe["source"][1]["sha256"]}
    counts = manifest.counts
    assert counts["train"]["documents"] == len(list(read_documents(folder / "train.jsonl.gz")))
    for part in counts["sources"].values():
        spent = part["train"]["documents"] + part["heldout"]["documents"] + part["not_drawn"]["documents"]
        assert part["read"]["documents"] == spent + sum(part["removed"].values())
    card = (folder / "data_card.md").read_text()
    for words in (
        "# Toy",
        "Words of the recipe.",
        "A. Nonymous",
        recipe["source"][0]["sha256"],
        "held-out text seen in training",
    ):
        assert words in card
    assert "**Korean**" in card


def test_two_runs_give_equal_files_and_the_second_is_skipped(recipe, tmp_path):
    first = artifact.read_manifest(build(recipe))
    changed_at = (tmp_path / "out" / "documents" / "manifest.json").stat().st_mtime_ns
    build(recipe)
    assert (tmp_path / "out" / "documents" / "manifest.json").stat().st_mtime_ns == changed_at
    time.sleep(1.1)  # gzip would write a time stamp in seconds
    second = artifact.read_manifest(build(recipe | {"output": str(tmp_path / "again")}))
    assert first.content_hash == second.content_hash
    other = artifact.read_manifest(build(recipe | {"output": str(tmp_path / "other"), "seed": 1}))
    assert other.content_hash != first.content_hash


def test_caps_draw_a_part_and_say_so(recipe):
    recipe["source"][0] |= {"max_bytes": 10_000, "heldout_documents": 3}
    folder = build(recipe)
    bills = artifact.read_manifest(folder).counts["sources"]["bills (ko)"]
    assert 5_000 < bills["train"]["bytes"] <= 10_000
    assert bills["heldout"]["documents"] <= 3
    assert build(recipe | {"max_bytes_per_source": 5_000}) == folder
    counts = artifact.read_manifest(folder).counts["sources"]
    assert all(0 < part["train"]["bytes"] <= 5_000 for part in counts.values())
    assert bills["not_drawn"]["documents"] == 60 - 3 - bills["train"]["documents"] - bills["removed"].get(
        "near-duplicate", 0
    )


def test_dry_run_prints_the_plan_and_touches_nothing(recipe, http_index, tmp_path, capsys):
    assert build(recipe, dry_run=True) == Path(recipe["output"])
    plan = capsys.readouterr().err
    assert "to download" in plan
    assert "bills (ko)" in plan
    assert http_index.requests == []
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()
    build(recipe)
    capsys.readouterr()
    build(recipe, dry_run=True)
    assert capsys.readouterr().err.count("cached") >= 2


def test_it_works_without_a_network_once_downloaded(recipe, http_index):
    first = artifact.read_manifest(build(recipe))
    http_index.pages.clear()
    http_index.files.clear()
    assert artifact.read_manifest(build(recipe | {"seed": 0, "title": "Other"})).counts == first.counts


def test_two_sources_may_share_one_archive(recipe, http_index):
    recipe["source"].append(
        recipe["source"][1] | {"language": "ko", "include": ["docs/ko/*.md"], "heldout_fraction": 0}
    )
    counts = artifact.read_manifest(build(recipe)).counts["sources"]
    assert counts["docs (ko)"]["train"]["documents"] == 1
    assert len([path for path, _ in http_index.requests if path == "/files/docs-2.0.tar.gz"]) == 1


def test_files_on_disk(recipe, tmp_path):
    for name in ("text", "jsonl", "parquet"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "a.txt").write_text(prose(1, LETTERS))
    rows = [{"body": prose(n, LETTERS), "key": f"k{n}", "day": "2024-02-03"} for n in range(2, 5)]
    (tmp_path / "jsonl" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "parquet" / "a.parquet").write_bytes(parquet([row | {"body": row["body"][::-1]} for row in rows]))
    keys = {"template": "{body}", "id_key": "key", "date_key": "day", "heldout_fraction": 0}
    recipe["source"] = [
        BASE | {"kind": "text", "name": "t", "language": "en", "path": str(tmp_path / "text"), "heldout_fraction": 0},
        BASE | {"kind": "jsonl", "name": "j", "language": "en", "path": str(tmp_path / "jsonl")} | keys,
        BASE | {"kind": "parquet", "name": "p", "language": "en", "path": str(tmp_path / "parquet"), "limit": 2} | keys,
    ]
    folder = build(recipe)
    found = {d.id: d.date for d in read_documents(folder / "train.jsonl.gz")}
    day = "2024-02-03"
    assert found == {"t/a.txt": None, "j/k2": day, "j/k3": day, "j/k4": day, "p/k2": day, "p/k3": day}
    before = artifact.read_manifest(folder)
    (tmp_path / "text" / "a.txt").write_text(prose(77, LETTERS))
    assert artifact.read_manifest(build(recipe)).content_hash != before.content_hash  # changed files are noticed


def test_personal_data_are_masked_in_all_that_is_written(recipe, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(3):
        text = prose(number, SYLLABLES) + f" 문의는 010-1234-567{number}."
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / "short.txt").write_text("010-1234-5679", encoding="utf-8")
    source = BASE | {"name": "texts", "kind": "text", "path": str(folder), "language": "ko"}
    for number, wanted in enumerate((False, True)):
        config = from_dict(
            DocumentsConfig, {"output": str(tmp_path / f"out{number}"), "source": [source], "mask_personal": wanted}
        )
        folder_out = build_documents(config)
        written = b"".join(gzip.decompress(path.read_bytes()) for path in folder_out.glob("*.gz")).decode()
        assert ("010-1234" in written) != wanted and ("[PHONE_1]" in written) == wanted
        assert (": masked." in (folder_out / "data_card.md").read_text()) == wanted


def test_a_hugging_face_dataset(recipe, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.parquet").write_bytes(parquet([{"text": prose(n, LETTERS), "id": n} for n in range(5)]))
    recipe["source"] = [
        BASE
        | {"kind": "huggingface", "name": str(tmp_path / "hub"), "language": "en", "heldout_fraction": 0, "limit": 4}
    ]
    assert len(list(read_documents(build(recipe) / "train.jsonl.gz"))) == 4


def test_a_kind_whose_library_is_missing_says_how_to_get_it(recipe, tmp_path):
    (tmp_path / "crawl.warc.gz").write_bytes(b"")
    recipe["source"] = [
        BASE | {"kind": "warc", "name": "w", "language": "en", "path": str(tmp_path), "include": ["*.warc.gz"]}
    ]
    with pytest.raises(SourceError) as caught:
        build(recipe)
    assert "pip install" in caught.value.repair or "no documents" in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"langauge": "ko"}, "unknown key 'langauge', did you mean 'language'"),
        ({"language": "kor"}, "source[0]: language = 'kor' is not allowed, did you mean 'ko'"),
        ({"kind": "sdists"}, "source[0]: kind = 'sdists' is not allowed, did you mean 'sdist'"),
        ({"sha256": "abc"}, "sha256 = 'abc' is not allowed; allowed: the 64 hexadecimal digits"),
        ({"version": ""}, "version = '' is not allowed"),
        ({"heldout_from": "January"}, "heldout_from = 'January' is not allowed; allowed: a date such as 2026-01-01"),
        ({"heldout_fraction": 1.5}, "heldout_fraction = 1.5 is not allowed"),
        ({"max_bytes": -1}, "max_bytes = -1 is not allowed"),
        ({"kind": "jsonl", "path": "x"}, "parser = 'assembly-bills' is not allowed"),
        ({"kind": "text"}, "path = '' is not allowed"),
        ({"template": "{a.b}"}, "template = '{a.b}' is not allowed"),
        ({"template": "{a"}, "template = '{a' is not allowed"),
        ({"template": "{a!r}"}, "template = '{a!r}' is not allowed"),
    ],
)
def test_a_wrong_recipe_is_one_clear_sentence(recipe, change, message):
    recipe["source"][0] |= change
    with pytest.raises(ConfigError) as caught:
        build(recipe)
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe.toml: ")


def test_a_recipe_without_sources_or_with_one_twice(recipe):
    with pytest.raises(ConfigError, match="at least one"):
        build(recipe | {"source": []})
    with pytest.raises(ConfigError, match=r"bills \(ko\)"):
        build(recipe | {"source": [recipe["source"][0]] * 2})


@pytest.mark.parametrize("problem", ["hash", "absent", "truncated", "pattern", "folder"])
def test_a_bad_source_is_an_error_and_leaves_nothing_half_written(recipe, http_index, tmp_path, problem):
    source = recipe["source"][1]
    if problem == "hash":
        source["sha256"] = "0" * 64
    elif problem == "absent":
        http_index.pages.pop("/simple/docs/")
    elif problem == "truncated":
        source |= {"version": "3", "sha256": http_index.add("docs", "docs-3.tar.gz", docs_archive()[:-300])}
    elif problem == "pattern":
        source["include"] = ["documentation/*.md"]
    else:
        recipe["source"][1] = BASE | {"kind": "text", "name": "t", "language": "en", "path": str(tmp_path / "nowhere")}
    with pytest.raises(SourceError) as caught:
        build(recipe)
    assert caught.value.repair
    assert not (tmp_path / "out").exists()


BUILD = """
import json, sys
from pathlib import Path
from axk1.core.config import from_dict
from axk1.data.documents import DocumentsConfig, build_documents
build_documents(from_dict(DocumentsConfig, json.loads(Path(sys.argv[1]).read_text())))
"""


@pytest.mark.parametrize("moment", ["downloading", "building"])
def test_killed_at_any_moment_and_started_again_it_goes_on(recipe, http_index, tmp_path, moment):
    whole = artifact.read_manifest(build(recipe)).content_hash
    recipe["output"] = str(tmp_path / "killed" / "documents")
    if moment == "downloading":
        for file in cache_folder().iterdir():
            file.unlink()
        http_index.hold_after = 100_000  # the server sends so much and then waits
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path / "recipe.json")], stderr=subprocess.DEVNULL)
    part = cache_folder() / ".bills-0.1.0.tar.gz.part"
    building = tmp_path / "killed" / ".documents.building"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (part.exists() and part.stat().st_size >= 65_536) if moment == "downloading" else building.exists():
            break
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    http_index.release()
    if moment == "downloading":
        assert not Path(recipe["output"]).exists()
    folder = build(recipe)
    assert artifact.verify(folder).content_hash == whole
    assert [path.name for path in folder.parent.iterdir()] == ["documents"]
    if moment == "downloading":
        assert "bytes=65536-" in http_index.file_requests()


def test_documents_round_trip_and_corrupt_files_are_errors(tmp_path):
    documents = [Document("a", "글\n\u2028x", "s", "l", "ko", "2024-01-01"), Document("b", "", "s", "l", "en")]
    write_documents(tmp_path / "d.jsonl.gz", documents, ["why", "so"])
    assert list(read_documents(tmp_path / "d.jsonl.gz")) == documents
    whole = (tmp_path / "d.jsonl.gz").read_bytes()
    for content in (
        whole[:-9],
        b"not gzip",
        gzip.compress(b'{"id": 1}\n'),
        gzip.compress(b"[]\n"),
        gzip.compress(b"{\n"),
    ):
        (tmp_path / "d.jsonl.gz").write_bytes(content)
        with pytest.raises(ArtifactError, match="is corrupt"):
            list(read_documents(tmp_path / "d.jsonl.gz"))
    with pytest.raises(ArtifactError, match="does not exist"):
        list(read_documents(tmp_path / "none.jsonl.gz"))


def test_the_nano_recipe_is_valid_and_survives_the_manifest():
    path = Path(__file__).parents[2] / "recipes" / "nano" / "documents.toml"
    config = from_dict(DocumentsConfig, load_toml(path), where=str(path))
    assert from_dict(DocumentsConfig, to_dict(config)) == config
    assert {source.language for source in config.source} == {"ko", "en", "code"}


@pytest.mark.network
def test_the_nano_recipe_for_real(tmp_path):
    """Downloads 92 MB unless they are cached."""
    path = Path(__file__).parents[2] / "recipes" / "nano" / "documents.toml"
    folder = build(load_toml(path) | {"output": str(tmp_path / "documents")})
    counts = artifact.verify(folder, kind="documents").counts
    assert counts["sources"]["korean-assembly-bills (ko)"]["read"]["documents"] == 60_546
    assert 20e6 < counts["train"]["bytes"] < 25e6
    for language in ("ko", "en"):
        assert counts["languages"][language]["heldout"]["bytes"] >= 150_000
        assert counts["languages"][language]["heldout"]["documents"] <= 310
    bills = [d for d in read_documents(folder / "heldout.jsonl.gz") if d.source == "korean-assembly-bills"]
    assert len(bills) >= 280
    assert min(d.date for d in bills) >= "2026-01-01"
    assert all(d.date < "2026-01-01" for d in read_documents(folder / "train.jsonl.gz") if d.date)
