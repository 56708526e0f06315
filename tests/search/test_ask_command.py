"""``axk1 ask`` over an index that ``axk1 search build`` made."""

import json
from pathlib import Path

import pytest

from axk1.cli import dispatch
from axk1.core.errors import AXK1Error

RULES = """# 연구개발비

## 제12조 한도

연구개발비는 과제당 3억 5천만 원을 초과할 수 없다.

## 제13조 보고서

연구기관은 연구가 끝난 날부터 60일 이내에 최종보고서를 제출하여야 한다.
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ask")
    (folder / "rules").mkdir()
    (folder / "rules" / "money.md").write_text(RULES, encoding="utf-8")
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'output = "{folder}/index"\nthreads = 1\n[[source]]\npath = "{folder}/rules"\n', encoding="utf-8"
    )
    dispatch(["search", "build", str(recipe)])
    return folder / "index"


def test_the_answer_and_its_source(index, capsys):
    answer = dispatch(["ask", "최종보고서는 연구가 끝난 날부터 며칠 이내에 제출해야 하나요?", "--index", str(index)])
    printed = capsys.readouterr().out
    assert printed.startswith("연구기관은 연구가 끝난 날부터 60일 이내에 최종보고서를 제출하여야 한다. [1]")
    assert "제13조 보고서" in printed
    assert "rules/money.md" in printed
    reference = answer.sentences[0].evidence[0]
    assert f"characters {reference.start}-{reference.end}" in printed


def test_follow_ups_and_json(index, capsys):
    words = ["ask", "그 한도는 얼마인가요?", "--earlier", "연구개발비는 무엇인가요?", "--index", str(index), "--json"]
    dispatch(words)
    answer = json.loads(capsys.readouterr().out)
    assert "3억 5천만 원" in answer["answer"]
    assert all(check["passed"] for sentence in answer["sentences"] for check in sentence["checks"])


def test_a_refusal(index, capsys):
    assert dispatch(["ask", "에펠탑의 높이는 얼마인가요?", "--index", str(index)]).refused
    assert "근거가 없습니다" in capsys.readouterr().out


def test_bounds(index):
    question = "최종보고서는 연구가 끝난 날부터 며칠 이내에 제출해야 하나요?"
    assert dispatch(["ask", question, "--index", str(index), "--documents", "laws/"]).refused
    assert not dispatch(["ask", question, "--index", str(index), "--documents", "rules/"]).refused


def test_no_index_says_how_to_make_one(tmp_path):
    with pytest.raises(AXK1Error) as caught:
        dispatch(["ask", "무엇?", "--index", str(tmp_path / "none")])
    assert "axk1 search build" in str(caught.value.repair)
