"""Evaluation with models whose scores are known by arithmetic."""

import gzip
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_models import RuleModel, add, calculate

from axk1.core import artifact
from axk1.core.config import from_dict, load_toml
from axk1.core.errors import ArtifactError, ConfigError
from axk1.data.conversations import ConversationsConfig, build_conversations
from axk1.data.document import Document, write_documents
from axk1.eval.evaluate import EvalConfig, evaluate
from axk1.eval.examination import set_questions
from axk1.eval.heldout import windows
from axk1.eval.scores import Scores
from axk1.eval.tasks import TASKS

KOREAN = ["법률의 적용 대상을 명확히 함. " * n for n in (3, 5, 40)]
ENGLISH = ["The committee shall report. " * n for n in (4, 9)]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A documents artifact with three Korean and two English held-out documents."""
    texts = [("ko", text) for text in KOREAN] + [("en", text) for text in ENGLISH]
    lines = [Document(f"bills/{i}", text, "bills", "CC0", language) for i, (language, text) in enumerate(texts)]
    with artifact.building(tmp_path / "documents") as folder:
        write_documents(folder / "heldout.jsonl.gz", lines)
        artifact.write_manifest(folder, kind="documents")
    return tmp_path / "documents"


@pytest.fixture
def config(tmp_path: Path, documents: Path) -> EvalConfig:
    """Two tasks, twelve questions each."""
    return EvalConfig(
        model=tmp_path / "adder",
        output=tmp_path / "scores",
        documents=documents,
        tasks=("chain_sum", "gcd"),
        problems_per_task=12,
        document_bytes=400,
        window_bytes=100,
    )


def replaced(config: EvalConfig, **changes) -> EvalConfig:
    return EvalConfig(**{**{name: getattr(config, name) for name in config.__dataclass_fields__}, **changes})


def test_a_model_that_only_adds_scores_the_share_of_sums(config):
    results = Scores.open(evaluate(RuleModel(add), config)).results["results"]
    questions = set_questions(TASKS["chain_sum"], 12, ("ko", "en"), 0)
    points: dict[str, list[float]] = {}
    for question in questions:
        points.setdefault(question.problem.identity, []).append(float(" + " in question.text))
    share = sum(sum(p) for p in points.values()) / 12
    assert 0 < share < 1
    assert results["reasoning_chain_sum"]["exact_match,none"] == pytest.approx(share)
    assert results["reasoning_gcd"]["exact_match,none"] == 0
    assert results["reasoning_gcd"]["exact_match_stderr,none"] == 0
    for group in ("reasoning", "reasoning_think", "reasoning_no_think"):
        assert results[group]["exact_match,none"] == pytest.approx(share / 2)
    # the jackknife over problems, written out
    left_out = [(share * 12 - sum(p)) / (12 - len(p)) for p in points.values()]
    n, mean = len(left_out), sum(left_out) / len(left_out)
    expected = math.sqrt((n - 1) / n * sum((x - mean) ** 2 for x in left_out))
    assert results["reasoning_chain_sum"]["exact_match_stderr,none"] == pytest.approx(expected)


def test_languages_are_scored_apart(config):
    def korean_only(question: str) -> str:
        return calculate(question) if re.search("[가-힣]", question) else "?"

    results = Scores.open(evaluate(RuleModel(korean_only), replaced(config, tasks=("chain_sum",)))).results["results"]
    assert results["reasoning_ko"]["exact_match,none"] == 1
    assert results["reasoning_en"]["exact_match,none"] == 0


def test_a_model_of_three_bits_per_byte_is_found_to_be_one(config):
    scores = Scores.open(evaluate(RuleModel(add, bits=3.0), config))
    for task, texts in (("heldout_ko", KOREAN), ("heldout_en", ENGLISH)):
        assert scores.results["results"][task]["bits_per_byte,none"] == pytest.approx(3.0)
        assert scores.results["results"][task]["bits_per_byte_stderr,none"] == pytest.approx(0, abs=1e-9)
        sizes = [line["bytes"] for line in scores.samples[task]]
        assert sizes[:2] == [len(text.encode()) for text in texts[:2]]
        assert 300 < sizes[-1] <= 400 if task == "heldout_ko" else len(sizes) == 2


def test_held_out_text_ends_at_its_cap(config):
    scores = Scores.open(evaluate(RuleModel(add), replaced(config, heldout_bytes=len(KOREAN[0].encode()))))
    assert [line["doc_id"] for line in scores.samples["heldout_ko"]] == ["bills/0"]


def test_results_have_the_form_of_lm_evaluation_harness(config):
    results = Scores.open(evaluate(RuleModel(add), config, name="the adder")).results
    tasks = {"heldout_ko", "heldout_en", "reasoning_chain_sum", "reasoning_gcd"}
    assert set(results["configs"]) == set(results["versions"]) == set(results["n-samples"]) == tasks
    assert results["n-samples"]["reasoning_gcd"] == {"original": 24, "effective": 24}
    assert set(results["groups"]) == set(results["group_subtasks"]) == set(results["results"]) - tasks
    assert results["higher_is_better"]["heldout_ko"] == {"bits_per_byte": False}
    assert results["model_name"] == "the adder"
    for task, row in results["results"].items():
        assert row["alias"] == task
        (metric,) = results["higher_is_better"][task]
        assert {f"{metric},none", f"{metric}_stderr,none"} < set(row)


def test_samples_show_what_was_asked_answered_and_marked(config):
    scores = Scores.open(evaluate(RuleModel(add), config))
    for line in scores.samples["reasoning_chain_sum"]:
        ((asked, options),) = line["arguments"]
        think = line["doc"]["mode"] == "think"
        assert asked.endswith("<think>" if think else "</think>") and line["doc"]["question"] in asked
        assert options["max_tokens"] == (80 if think else 16)
        assert line["resps"][0][0].startswith("a moment</think>") == think
        assert line["exact_match"] == (line["filtered_resps"][0] == line["target"])
    assert len({line["doc_id"] for line in scores.samples["reasoning_chain_sum"]}) == 24


def test_an_answer_cut_off_in_its_thought_is_wrong(config):
    results = Scores.open(evaluate(RuleModel(add), replaced(config, think_tokens=2))).results["results"]
    assert results["reasoning_think"]["exact_match,none"] == 0 < results["reasoning_no_think"]["exact_match,none"]


def test_a_second_run_finds_the_scores_up_to_date(config):
    model = RuleModel(add)
    evaluate(model, config)
    calls = model.calls
    before = (config.output / "results.json").read_bytes()
    evaluate(model, config)
    assert model.calls == calls and (config.output / "results.json").read_bytes() == before
    evaluate(model, replaced(config, seed=1))
    assert model.calls > calls


def test_a_dry_run_asks_and_writes_nothing(config):
    model = RuleModel(add)
    evaluate(model, config, dry_run=True)
    assert model.calls == 0 and not config.output.exists()


def test_a_model_that_breaks_leaves_nothing_behind(config):
    def broken(question: str) -> str:
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError):
        evaluate(RuleModel(broken), config)
    assert sorted(path.name for path in config.output.parent.iterdir()) == ["documents"]


def test_an_examination_that_was_taught_is_refused(config, tmp_path):
    conversations = tmp_path / "conversations"
    build_conversations(ConversationsConfig(output=conversations, count=40, weights={"chain_sum": 1.0}))
    with_taught = replaced(config, conversations=conversations)
    evaluate(RuleModel(add), with_taught)  # by the rule, nothing meets
    identity = set_questions(TASKS["gcd"], 1, ("ko", "en"), 1)[0].problem.identity
    with artifact.building(conversations) as folder:
        write_lines(folder / "train.jsonl.gz", [{"problem": identity}])
        artifact.write_manifest(folder, kind="conversations")
    with pytest.raises(ArtifactError, match=re.escape(f"were taught in {str(conversations)!r}, the first is")):
        evaluate(RuleModel(add), replaced(with_taught, seed=1))


def write_lines(path: Path, lines: list[dict]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_missing_and_corrupt_documents_are_named(config, documents):
    (documents / "heldout.jsonl.gz").write_bytes(b"nothing gzipped")
    with pytest.raises(ArtifactError, match="corrupt at line 1"):
        evaluate(RuleModel(add), config)
    with pytest.raises(ArtifactError, match=r"does not exist\n  repair: axk1 data build"):
        evaluate(RuleModel(add), replaced(config, documents=documents / "elsewhere"))


def test_corrupt_scores_are_named(config):
    folder = evaluate(RuleModel(add), config)
    (folder / "samples_heldout_ko.jsonl").unlink()
    with pytest.raises(ArtifactError, match=r"cannot be read.*\n  repair: axk1 eval"):
        Scores.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["chain_sums"]}, "tasks = 'chain_sums' is not allowed; allowed: aiw, "),
        ({"languages": ["fr"]}, "languages.*fr"),
        ({"modes": []}, "at least one of think, no_think"),
        ({"think_tokens": 0}, "think_tokens = 0 is not allowed"),
        ({"think_token": 8}, "unknown key 'think_token', did you mean 'think_tokens'"),
    ],
)
def test_bad_recipes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(EvalConfig, {**load_toml("recipes/nano/eval.toml"), **change})


@given(st.text(max_size=300), st.integers(8, 60))
def test_windows_lose_nothing_and_keep_to_their_size(text, size):
    text = text.encode(errors="ignore").decode()
    pieces = list(windows(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= size for piece in pieces)


def test_questions_are_the_same_for_every_model_and_fresh_for_every_seed():
    task = TASKS["number_filtering"]
    first, again = (set_questions(task, 48, ("ko", "en"), 0) for _ in range(2))
    assert [q.text for q in first] == [q.text for q in again]
    assert len({q.text for q in first} & {q.text for q in set_questions(task, 48, ("ko", "en"), 1)}) < 12
    assert {q.language for q in first} == {"ko", "en"}


def test_a_task_with_few_problems_asks_them_again_in_other_words():
    questions = set_questions(TASKS["aiw"], 48, ("ko", "en"), 0)
    assert len({q.text for q in questions}) == len(questions) == 48
    assert len({q.problem.identity for q in questions}) < 20
