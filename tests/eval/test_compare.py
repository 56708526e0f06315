"""Comparisons of models whose scores are known by arithmetic."""

import json
from pathlib import Path

import pytest
from language_models import RuleModel, add, calculate

from axk1.core import artifact
from axk1.core.errors import ArtifactError, ConfigError
from axk1.data.document import Document, write_documents
from axk1.eval.compare import CompareConfig, compare, compare_scores, score_folders
from axk1.eval.evaluate import EvalConfig, evaluate
from axk1.eval.scores import Scores

ROLES = {"teacher": RuleModel(calculate, bits=1.0), "control": RuleModel(lambda _: "?", bits=2.0)}


def wrong_about_small_numbers(question: str) -> str:
    return add(question) if "9" in question or "8" in question else "?"


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts") / "documents"
    with artifact.building(folder) as building:
        lines = [Document(f"d/{i}", "word " * (5 + i), "d", "CC0", lang) for i, lang in enumerate(("ko", "en") * 3)]
        write_documents(building / "heldout.jsonl.gz", lines)
        artifact.write_manifest(building, kind="documents")
    return folder


def measure(model: RuleModel, output: Path, documents: Path, seed: int = 0, **changes) -> Path:
    options = {"tasks": ("chain_sum",), "problems_per_task": 24, "window_bytes": 32, "seed": seed, **changes}
    return evaluate(model, EvalConfig(model=output, output=output, documents=documents, **options))


@pytest.fixture
def run(tmp_path: Path, documents: Path) -> Path:
    """One seed: a teacher that knows all, a control that knows nothing, a student that only adds."""
    for role, model in {**ROLES, "student": RuleModel(add, bits=1.25)}.items():
        measure(model, tmp_path / "scores" / role, documents)
    return tmp_path


def measures(folder: Path) -> dict[str, dict]:
    content = json.loads((folder / "comparison.json").read_text())
    return {row["task"]: row for row in content["measures"]}


def test_one_seed(run, capsys):
    folder = compare(CompareConfig(run=run, output=run / "comparison"))
    found = measures(folder)
    share = found["reasoning"]["student"]["value"]
    assert 0 < share < 1
    sums = found["reasoning"]
    assert (sums["teacher"]["value"], sums["control"]["value"]) == (1, 0)
    assert sums["gap_closed"]["value"] == pytest.approx(share)
    # the control is wrong about everything, so the difference varies as the student does, and the share with it
    assert sums["student_minus_control"]["value"] == pytest.approx(share)
    assert sums["student_minus_control"]["stderr"] == pytest.approx(sums["student"]["stderr"])
    assert sums["gap_closed"]["stderr"] == pytest.approx(sums["student"]["stderr"])
    assert sums["student_ahead"] and sums["beyond_error"]
    text = found["heldout_ko"]
    assert text["student_minus_control"]["value"] == pytest.approx(-0.75)
    assert text["gap_closed"]["value"] == pytest.approx(0.75)
    assert text["student_ahead"] and not text["higher_is_better"]
    table = capsys.readouterr().out
    assert "75.0 %" in table and "One seed" in table and "jackknife" in table
    assert artifact.verify(folder, kind="comparison").inputs.keys() == {"teacher-0", "control-0", "student-0"}


def test_a_student_behind_is_not_called_ahead(run, documents):
    measure(RuleModel(lambda _: "?", bits=2.5), run / "scores" / "student", documents)
    found = measures(compare(CompareConfig(run=run, output=run / "comparison")))
    assert found["heldout_ko"]["beyond_error"] and not found["heldout_ko"]["student_ahead"]
    assert found["heldout_ko"]["gap_closed"]["value"] == pytest.approx(-0.5)
    assert not found["reasoning"]["beyond_error"] and not found["reasoning"]["student_ahead"]


def test_three_seeds(run, documents):
    for seed, bits in ((1, 1.5), (2, 1.75)):
        for role, model in {**ROLES, "student": RuleModel(wrong_about_small_numbers, bits=bits)}.items():
            measure(model, run / f"seed-{seed}" / "scores" / role, documents, seed=seed)
    content = json.loads((compare(CompareConfig(run=run, output=run / "comparison")) / "comparison.json").read_text())
    row = next(row for row in content["measures"] if row["task"] == "heldout_en")
    assert content["seeds"] == 3 and content["errors"].startswith("3 seeds")
    # the student's bits are 1.25, 1.5 and 1.75, the control's 2: s = 0.25, so the error is 0.25 / sqrt(3)
    assert row["student"]["value"] == pytest.approx(1.5)
    assert row["student_minus_control"]["value"] == pytest.approx(-0.5)
    assert row["student_minus_control"]["stderr"] == pytest.approx(0.25 / 3**0.5)
    low, high = row["student_minus_control"]["interval_95"]
    assert (high - low) / 2 == pytest.approx(4.303 * 0.25 / 3**0.5)
    assert row["gap_closed"]["value"] == pytest.approx(0.5)
    # 0.5 is less than 4.3 errors of 0.144: three seeds that differ so much do not prove it
    assert not row["beyond_error"]


def test_a_seed_that_is_not_whole_is_left_out_with_a_word(run, documents, capsys):
    measure(RuleModel(add), run / "seed-1" / "scores" / "student", documents, seed=1)
    folders = score_folders(CompareConfig(run=run, output=run / "comparison"))
    assert folders["student"] == [run / "scores" / "student"]
    assert "seed-1 is left out" in capsys.readouterr().err


def test_folders_can_be_named(run):
    named = {role: (run / "scores" / role,) for role in ("teacher", "control", "student")}
    by_name = measures(compare(CompareConfig(output=run / "named", **named)))
    assert by_name == measures(compare(CompareConfig(output=run / "found", run=run)))


@pytest.mark.parametrize("change", [{"seed": 5}, {"problems_per_task": 8}, {"document_bytes": 32}])
def test_other_problems_or_documents_are_refused(run, documents, change):
    measure(RuleModel(add), run / "scores" / "student", documents, **change)
    with pytest.raises(ArtifactError, match="were not measured on the same problems and documents"):
        compare(CompareConfig(run=run, output=run / "comparison"))
    assert not (run / "comparison").exists()


def test_missing_scores_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"teacher' does not exist\n  repair: axk1 eval"):
        compare(CompareConfig(run=tmp_path, output=tmp_path / "comparison"))


@pytest.mark.parametrize("options", [{}, {"run": Path("a"), "teacher": (Path("b"),)}, {"student": (Path("b"),)}])
def test_bad_recipes_are_refused(options):
    with pytest.raises(ConfigError):
        CompareConfig(output=Path("out"), **options)


def test_a_dry_run_writes_nothing(run):
    compare(CompareConfig(run=run, output=run / "comparison"), dry_run=True)
    assert not (run / "comparison").exists()


def test_two_models_alike_have_no_gap(run):
    scores = Scores.open(run / "scores" / "student")
    rows = compare_scores({role: [scores] for role in ("teacher", "control", "student")})
    assert {row.task for row in rows} == set(scores.measures)
    assert all(row.gap is None and row.gain.value == 0 and not row.beyond_error for row in rows)
