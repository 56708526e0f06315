"""Reading files out of archives and folders."""

import contextlib
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axk1.core.errors import SourceError
from axk1.data.archives import archive_members, folder_members, matches

NAMES = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,3}\.(md|txt|py)", fullmatch=True)
TREES = st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1, max_size=6)
ANY_EXAMPLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def write_tar(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra or []:
            archive.addfile(info)
    return path


def read(path: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> dict[str, bytes]:
    return {member.name: member.file.read() for member in archive_members(path, include, exclude)}


@ANY_EXAMPLE
@given(TREES)
def test_every_file_comes_out_as_it_went_in(tmp_path, files):
    inside = {f"demo-1.0/{name}": content for name, content in files.items()}
    assert read(write_tar(tmp_path / "a.tar.gz", inside)) == files
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
    assert read(tmp_path / "a.zip") == files


@ANY_EXAMPLE
@given(TREES, st.data())
def test_a_truncated_archive_is_always_an_error(tmp_path, files, data):
    whole = write_tar(tmp_path / "a.tar.gz", {f"demo/{name}": content for name, content in files.items()}).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(SourceError, match="truncated or corrupt") as caught:
        read(cut)
    assert str(cut) in caught.value.repair


@ANY_EXAMPLE
@given(TREES, st.data())
def test_a_damaged_archive_gives_the_files_or_an_error_never_other_content(tmp_path, files, data):
    path = write_tar(tmp_path / "a.tar.gz", {f"demo/{name}": content for name, content in files.items()})
    damaged = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    with contextlib.suppress(SourceError):
        assert read(path) == files


@ANY_EXAMPLE
@given(st.binary(max_size=3000))
def test_bytes_that_are_no_archive_are_an_error(tmp_path, content):
    for name in ("a.tar.gz", "a.zip"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="truncated or corrupt"):
            read(tmp_path / name)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(b"\x01" + content))
    with pytest.raises(SourceError, match="truncated or corrupt"):
        read(tmp_path / "b.tar.gz")


@pytest.mark.parametrize("name", ["/etc/passwd", "demo/../../etc/passwd", "..", "demo\\..\\x", "../demo/a.md"])
def test_a_name_that_climbs_out_is_an_error(tmp_path, name):
    with pytest.raises(SourceError, match="points outside"):
        read(write_tar(tmp_path / "a.tar.gz", {name: b"x"}))


def test_links_and_devices_are_passed_over(tmp_path):
    extra = []
    for name, kind in (("demo/link", tarfile.SYMTYPE), ("demo/hard", tarfile.LNKTYPE), ("demo/null", tarfile.CHRTYPE)):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        extra.append(info)
    assert read(write_tar(tmp_path / "a.tar.gz", {"demo/a.md": b"x"}, extra)) == {"a.md": b"x"}


def test_patterns(tmp_path):
    path = write_tar(
        tmp_path / "a.tar.gz", {f"demo/{n}": b"" for n in ("docs/a.md", "docs/ko/b.md", "c.md", "docs/d.py")}
    )
    assert list(read(path, ("docs/*.md",))) == ["docs/a.md", "docs/ko/b.md"]
    assert list(read(path, ("docs/*.md", "c.md"), ("docs/ko/*",))) == ["docs/a.md", "c.md"]
    assert matches("anything", (), ())


def test_nothing_is_written_while_reading(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", {"demo/a.md": b"x"})
    read(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for name in ("b.md", "a/c.md", "d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = {member.name: member.file.read() for member in folder_members(str(tmp_path), ("*.md",))}
    assert list(found.items()) == [("a/c.md", b"a/c.md"), ("b.md", b"b.md")]
    with pytest.raises(SourceError, match=r"holds no file like \*\.rst"):
        list(folder_members(str(tmp_path), ("*.rst",)))
