"""The READMEs: their commands exist and do what is said, and the Korean one keeps step."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from axk1 import cli

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.ko.md")
MARKDOWN = [*READMES, "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]


def commands(name: str) -> list[str]:
    """Every ``axk1 ...`` and ``make ...`` of a page, from code blocks and inline code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line.split("#")[0] for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    lines += re.findall(r"`((?:axk1|make) [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line.strip().removeprefix(".venv/bin/") for line in lines if line.strip()]


@pytest.mark.parametrize("page", MARKDOWN)
def test_every_command_exists_and_its_recipe_too(page):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for command in commands(page):
        program, *words = shlex.split(command)
        if program == "make":
            assert words[0] in targets, command
        elif program == "axk1" and words[0].isalpha():
            groups = {name.split()[0] for name in cli.COMMANDS}
            assert " ".join(words[:2]) in cli.COMMANDS or words[0] in groups, command
            assert all((ROOT / word).exists() for word in words if word.startswith("recipes/")), command


@pytest.mark.parametrize("page", READMES)
def test_the_two_commands_come_early(page):
    head = (ROOT / page).read_text(encoding="utf-8").splitlines()[:25]
    assert any(line.startswith("make quickstart") for line in head) and any(
        line.startswith("make test") for line in head
    )


def test_the_korean_readme_keeps_step():
    english, korean = ((ROOT / page).read_text(encoding="utf-8") for page in READMES)
    assert commands("README.md") == commands("README.ko.md")
    assert [line[:2] for line in english.splitlines() if line.startswith("#")] == [
        line[:2] for line in korean.splitlines() if line.startswith("#")
    ]
    numbers = re.compile(r"\d[\d,.]*\d|\d")
    section = re.compile(r"^## (?:What is measured|잰 것)\n(.*?)^## ", re.S | re.M)
    tables = [
        [row for row in section.search(text)[1].splitlines() if row.startswith("|")] for text in (english, korean)
    ]
    assert [numbers.findall(row) for row in tables[0]] == [numbers.findall(row) for row in tables[1]] and tables[0]


def test_what_the_readme_says_of_the_full_size_is_what_inspect_prints(capsys):
    cli.dispatch(["inspect", str(ROOT / "recipes/axk1-519b")])
    printed = capsys.readouterr().out
    for page in READMES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "518.98 B" in text and "32.78 B" in text
    assert "518.98 B" in printed and "32.78 B" in printed


@pytest.mark.parametrize("page", MARKDOWN)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_benchmarks_page_is_made_from_the_results():
    command = [sys.executable, str(ROOT / "benchmarks/make_docs.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_the_readme_shows_the_scores_that_were_published():
    """Every row of the score table says what the results file says, with the same digits."""
    (path,) = (ROOT / "benchmarks/results").glob("nano_chain-*.json")
    rows = {row["case"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(heldout_ko|heldout_en|reasoning)`.*?\| (.*) \|$", text, re.M))
    assert set(shown) == {"heldout_ko", "heldout_en", "reasoning"}
    for case, cells in shown.items():
        row, scale, digits = rows[case], 100 if rows[case]["unit"] == "share" else 1, 1 if case == "reasoning" else 3
        _, control, student, *_ = (cell.strip() for cell in cells.split("|"))
        assert control.startswith(f"{row['peer'] * scale:.{digits}f}"), (case, control)
        assert student.startswith(f"{row['ours'] * scale:.{digits}f}"), (case, student)
