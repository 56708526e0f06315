"""Conversations: deterministic, graded, mixed as asked, and without any problem of the examination."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.core import artifact
from axk1.core.config import from_dict, load_toml
from axk1.core.errors import ConfigError
from axk1.data.conversations import ConversationsConfig, build_conversations, task_quotas
from axk1.eval.examination import set_questions
from axk1.eval.graders import grade
from axk1.eval.tasks import TASKS
from axk1.tokenizer.chat import render


def read(folder: Path) -> list[dict]:
    with gzip.open(folder / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build_conversations(ConversationsConfig(output=tmp_path_factory.mktemp("c") / "conversations", count=3000))


@pytest.fixture(scope="module")
def lines(built) -> list[dict]:
    return read(built)


def test_a_conversation_is_a_question_and_an_answer_that_the_template_renders(lines):
    for line in lines:
        question, reply = line["messages"]
        assert (question["role"], reply["role"]) == ("user", "assistant")
        assert ("reasoning_content" in reply) == (line["mode"] == "think")
        assert bool(re.search("[가-힣]", question["content"])) == (line["language"] == "ko")
        text = render(line["messages"], enable_thinking=line["mode"] == "think")
        assert text.endswith(f"</think>{reply['content']}<|im_end|>\n")
    assert len({line["id"] for line in lines}) == len(lines) == 3000


def test_what_is_taught_gets_full_marks(lines):
    for line in lines:
        task, number, _ = line["id"].split("/")
        problem = TASKS[task].problem(int(number))
        assert problem.identity == line["problem"]
        assert grade(problem.entry, line["messages"][1]["content"]).exact_match


def test_the_mix_is_as_asked(lines):
    assert set(Counter(line["task"] for line in lines).values()) == {300}
    languages, modes = Counter(line["language"] for line in lines), Counter(line["mode"] for line in lines)
    assert 0.45 < languages["ko"] / 3000 < 0.55 and 0.45 < modes["think"] / 3000 < 0.55
    asked: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        number = line["id"].rpartition("/")[0]
        asked.setdefault((number, line["messages"][0]["content"]), set()).add(line["mode"])
    both = sum(len(modes) == 2 for modes in asked.values())
    assert 0.33 < both / len(asked) < 0.47


def test_no_problem_of_any_examination_is_taught(lines):
    taught = {line["problem"] for line in lines}
    for seed in range(3):
        for task in TASKS.values():
            assert not taught & {question.problem.identity for question in set_questions(task, 48, ("ko", "en"), seed)}


def test_the_manifest_says_what_was_left_out_and_what_is_in(built):
    manifest = artifact.verify(built, kind="conversations")
    assert "is only examined, never taught" in manifest.counts["held_out_rule"]
    assert manifest.counts["conversations"] == sum(manifest.counts["by_task"].values()) == 3000
    assert set(manifest.licences.values()) == {"Apache-2.0"}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(built, tmp_path):
    same = build_conversations(ConversationsConfig(output=tmp_path / "same", count=3000))
    other = build_conversations(ConversationsConfig(output=tmp_path / "other", count=3000, seed=1))
    contents = [(folder / "train.jsonl.gz").read_bytes() for folder in (built, same, other)]
    assert contents[0] == contents[1] != contents[2]


def test_up_to_date_conversations_stay_and_changed_ones_are_made_anew(tmp_path):
    config = ConversationsConfig(output=tmp_path / "c", count=20)
    build_conversations(config)
    made = (config.output / "manifest.json").stat().st_mtime_ns
    build_conversations(config)
    assert (config.output / "manifest.json").stat().st_mtime_ns == made
    build_conversations(ConversationsConfig(output=tmp_path / "c", count=21))
    assert len(read(config.output)) == 21


def test_a_task_with_few_problems_starts_over_after_all_have_come(tmp_path):
    config = ConversationsConfig(output=tmp_path / "c", count=2500, korean_share=1.0, weights={"chain_sum": 1.0})
    lines = read(build_conversations(config))
    times = Counter((line["messages"][0]["content"], line["mode"]) for line in lines)
    assert len(lines) == 2500 > len(times) > 500
    assert max(times.values()) <= 5


def test_shares_of_one_and_none(tmp_path):
    config = ConversationsConfig(output=tmp_path / "c", count=60, korean_share=0, overlap_share=0, think_share=1)
    assert {(line["language"], line["mode"]) for line in read(build_conversations(config))} == {("en", "think")}


def test_a_dry_run_writes_nothing(tmp_path):
    build_conversations(ConversationsConfig(output=tmp_path / "c"), dry_run=True)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 5000), st.dictionaries(st.sampled_from(list(TASKS)), st.floats(0.01, 100), min_size=1))
def test_quotas_add_up_and_follow_the_weights(count, weights):
    quotas = task_quotas(ConversationsConfig(output=Path("c"), count=count, weights=weights))
    assert sum(quotas.values()) == count
    total = sum(weights.values())
    assert all(abs(quotas[name] - count * weight / total) < 1 for name, weight in weights.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count = 0 is not allowed"),
        ({"korean_share": 1.5}, "korean_share = 1.5 is not allowed; allowed: a number from 0 to 1"),
        ({"weights": {"chess": 1.0}}, "weights = 'chess' is not allowed; allowed: aiw, "),
        ({"weights": {"gcd": 0.0}}, "at least one above 0"),
        ({"seeds": 3}, "unknown key 'seeds', did you mean 'seed'"),
    ],
)
def test_bad_recipes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(ConversationsConfig, {**load_toml("recipes/nano/conversations.toml"), **change})
