"""Where the user's pip looks, and what is there."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.core.errors import SourceError
from axk1.data.package_index import (
    Link,
    PackageIndex,
    default_index,
    explain,
    is_release,
    normalised,
    pip_options,
    without_password,
)

HASH = "ab" * 32


@pytest.fixture
def pip_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pip configuration file that this test alone sees; no PIP_* variable of the machine."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text("")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def simple_index(folder: Path, project: str, page: str) -> str:
    (folder / project).mkdir(parents=True)
    (folder / project / "index.html").write_text(page)
    return folder.as_uri()


def test_options_come_from_pips_file_and_the_environment_wins(pip_home, monkeypatch):
    pip_home.write_text("[global]\nindex-url = https://one/simple\ntimeout = 7\n[download]\ntimeout = 8\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://two/simple")
    options = pip_options()
    assert options["index-url"] == "https://two/simple"
    index = PackageIndex(options)
    assert index.indexes == ["https://two/simple"]
    assert index.timeout == 8  # the command's own section wins over [global]


def test_several_extra_indexes_and_no_index(pip_home):
    pip_home.write_text("[global]\nextra-index-url =\n    https://one/simple\n    https://two/simple\n")
    default = default_index()
    assert default is not None and default.startswith("https://")
    assert PackageIndex().indexes == [default, "https://one/simple", "https://two/simple"]
    pip_home.write_text("[global]\nno-index = true\nfind-links = /somewhere\n")
    index = PackageIndex()
    assert (index.indexes, index.find_links) == ([], ["/somewhere"])


def test_a_broken_pip_configuration_is_an_error_with_a_repair(pip_home):
    pip_home.write_text("this is no section\n")
    with pytest.raises(SourceError, match="configuration is unreadable") as caught:
        pip_options()
    assert caught.value.repair == "python -m pip config debug"


def test_html_page_with_base_and_hash(tmp_path):
    page = f"""<html><head><base href="https://files/a/"></head><body>
    <a href="x/demo_pkg-1.0.tar.gz#sha256={HASH.upper()}">demo</a> <a href="demo_pkg-1.0-py3-none-any.whl">w</a>
    <a href="demo-pkg-1.0.1.tar.gz">later</a> <a>no target</a></body></html>"""
    index = PackageIndex({"index-url": simple_index(tmp_path, "demo-pkg", page)})
    links, reasons = index.links("Demo.Pkg", "1.0", "sdist")
    assert links == [Link("https://files/a/x/demo_pkg-1.0.tar.gz", "demo_pkg-1.0.tar.gz", HASH)]
    assert reasons == []
    assert [link.filename for link in index.links("demo_pkg", "1.0", "wheel")[0]] == ["demo_pkg-1.0-py3-none-any.whl"]


def test_find_links_folder_comes_first_and_every_place_without_it_says_why(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "demo-1.0.zip").write_bytes(b"x")
    empty = simple_index(tmp_path / "simple", "demo", "<html></html>")
    index = PackageIndex({"find-links": str(wheels), "index-url": empty, "extra-index-url": (tmp_path / "no").as_uri()})
    links, reasons = index.links("demo", "1.0", "sdist")
    assert [link.filename for link in links] == ["demo-1.0.zip"]
    assert len(reasons) == 2
    assert "has no sdist of demo 1.0" in reasons[0]
    assert "does not exist" in reasons[1]


def test_json_page(tmp_path, http_index):
    http_index.pages["/simple/demo/"] = (
        "application/vnd.pypi.simple.v1+json",
        json.dumps(
            {"files": [{"filename": "demo-1.tar.gz", "url": "../../f/demo-1.tar.gz", "hashes": {"sha256": HASH}}]}
        ),
    )
    links, _ = PackageIndex({"index-url": http_index.url}).links("demo", "1", "sdist")
    assert links == [Link(http_index.url.replace("/simple", "/f/demo-1.tar.gz"), "demo-1.tar.gz", HASH)]
    http_index.pages["/simple/demo/"] = ("application/vnd.pypi.simple.v1+json", '{"no": "files"}')
    assert "not a package index page" in PackageIndex({"index-url": http_index.url}).links("demo", "1", "sdist")[1][0]


@pytest.mark.parametrize(
    ("filename", "fits"),
    [
        ("demo_pkg-1.0.tar.gz", True),
        ("demo.pkg-1.0.zip", True),
        ("Demo-Pkg-1.0.tar.gz", True),
        ("demo_pkg-1.0.1.tar.gz", False),
        ("demo_pkg-extra-1.0.tar.gz", False),
        ("demo_pkg-1.0.tar.gz.asc", False),
        ("demo_pkg-1.0-py3-none-any.whl", False),
    ],
)
def test_names_of_source_distributions(filename, fits):
    assert is_release(filename, "demo-pkg", "1.0", "sdist") is fits


@given(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True),
    st.from_regex(r"\d{1,3}(\.\d{1,3}){0,3}", fullmatch=True),
)
def test_every_name_finds_its_own_files(name, version):
    stem = normalised(name).replace("-", "_")
    assert is_release(f"{stem}-{version}.tar.gz", name, version, "sdist")
    assert is_release(f"{stem}-{version}-py3-none-any.whl", name, version, "wheel")


def test_passwords_and_object_addresses_stay_out_of_messages():
    assert without_password("https://user:secret@host:8080/simple") == "https://host:8080/simple"
    assert without_password("/a/folder@home") == "/a/folder@home"
    assert explain(FileNotFoundError(2, "x")) == "does not exist"
