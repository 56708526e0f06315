"""Files of packages: from the cache or an index, verified, resumed."""

import hashlib
import random
import socket
from pathlib import Path

import pytest

from axk1.core.errors import SourceError
from axk1.data.download import cache_folder, cached_file, fetch_file
from axk1.data.package_index import PackageIndex

CONTENT = random.Random(7).randbytes(600_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AXK1_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


def index_of(http_index) -> PackageIndex:
    return PackageIndex({"index-url": http_index.url, "timeout": "5", "retries": "0"})


def fetch(http_index, sha256: str = HASH) -> Path:
    return fetch_file("demo", "1.0", sha256=sha256, size=len(CONTENT), index=index_of(http_index))


def test_fetches_once_and_then_from_the_cache(http_index, cache):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    path = fetch(http_index)
    assert path == cache / "demo-1.0.tar.gz"
    assert path.read_bytes() == CONTENT
    asked = len(http_index.requests)
    assert fetch(http_index) == path
    assert len(http_index.requests) == asked
    assert [file.name for file in cache.iterdir() if not file.name.endswith(".lock")] == ["demo-1.0.tar.gz"]


def test_cache_is_under_home_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("AXK1_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "axk1" / "downloads"


def test_a_corrupt_file_in_the_cache_is_deleted_and_fetched_again(http_index, cache):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    fetch(http_index).write_bytes(CONTENT[:-1] + b"?")
    assert cached_file("demo", "1.0", sha256=HASH) is None
    assert fetch(http_index).read_bytes() == CONTENT


def test_a_corrupt_file_in_the_cache_is_deleted_even_when_no_other_can_be_had(http_index, cache):
    cache.mkdir(parents=True)
    (cache / "demo-1.0.tar.gz").write_bytes(b"corrupt")
    with pytest.raises(SourceError, match="cannot be had"):
        fetch(http_index)
    assert not (cache / "demo-1.0.tar.gz").exists()


def test_a_wrong_hash_is_fetched_once_more_and_then_an_error_that_leaves_nothing(http_index, cache):
    http_index.add("demo", "demo-1.0.tar.gz", b"not what it says", stated_hash=HASH)
    with pytest.raises(SourceError, match=f"not the pinned {HASH}, twice") as caught:
        fetch(http_index)
    assert "pip config list" in caught.value.repair
    assert len(http_index.file_requests()) == 2
    assert [file for file in cache.iterdir() if not file.name.endswith(".lock")] == []


def test_an_index_that_states_another_hash_is_not_even_asked_for_the_file(http_index):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT, stated_hash="0" * 64)
    with pytest.raises(SourceError, match="not the pinned"):
        fetch(http_index)
    assert http_index.file_requests() == []


def test_a_broken_connection_goes_on_where_it_broke(http_index):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    http_index.cut_after, http_index.cuts = 250_000, 2
    assert fetch(http_index).read_bytes() == CONTENT
    assert http_index.file_requests() == [None, "bytes=250000-", "bytes=500000-"]


def test_a_connection_that_keeps_breaking_is_an_error_and_the_next_run_goes_on(http_index):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    http_index.cut_after, http_index.cuts = 1000, 3
    with pytest.raises(SourceError, match="after 3,000 bytes"):
        fetch(http_index)
    assert fetch(http_index).read_bytes() == CONTENT
    assert http_index.file_requests()[-1] == "bytes=3000-"


def test_a_server_without_ranges_sends_the_whole_again(http_index):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    http_index.cut_after, http_index.cuts, http_index.ignore_range = 250_000, 1, True
    assert fetch(http_index).read_bytes() == CONTENT


@pytest.mark.parametrize("left_over", [CONTENT, CONTENT + b"more", b"something else" * 10])
def test_a_left_over_part_never_spoils_the_file(http_index, cache, left_over):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    cache.mkdir(parents=True)
    (cache / ".demo-1.0.tar.gz.part").write_bytes(left_over)
    assert fetch(http_index).read_bytes() == CONTENT


def test_a_package_that_no_index_has(http_index):
    with pytest.raises(SourceError, match=r"demo 1\.0 cannot be had: .* answered 404"):
        fetch(http_index)


def test_a_file_that_the_index_names_but_does_not_have(http_index):
    http_index.add("demo", "demo-1.0.tar.gz", CONTENT)
    http_index.files.clear()
    with pytest.raises(SourceError, match="answered 404"):
        fetch(http_index)


def test_no_network(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    index = PackageIndex({"index-url": f"http://127.0.0.1:{port}/simple", "retries": "0"})
    with pytest.raises(SourceError, match="could not be reached") as caught:
        fetch_file("demo", "1.0", sha256=HASH, index=index)
    assert str(cache) in caught.value.repair


def test_a_local_index_without_any_network(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "demo-1.0.tar.gz").write_bytes(CONTENT)
    index = PackageIndex({"no-index": "1", "find-links": str(folder)})
    assert fetch_file("demo", "1.0", sha256=HASH, index=index).read_bytes() == CONTENT
    with pytest.raises(SourceError, match="no-index"):
        fetch_file("other", "1.0", sha256=HASH, index=PackageIndex({"no-index": "1"}))
