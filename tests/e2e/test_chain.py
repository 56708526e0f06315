"""The whole chain at toy size, as a user runs it: what every stage wrote, starting again, and being killed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from toy import run, start, write_project

import axk1
from axk1.core import artifact
from axk1.tokenizer.tokenizer import Tokenizer

KINDS = {
    "documents": "documents",
    "conversations": "conversations",
    "tokenizer": "tokenizer",
    "shards/text": "shards",
    "shards/chat": "shards",
    "base": "checkpoint",
    "teacher": "checkpoint",
    "knowledge": "knowledge_cache",
    "control": "checkpoint",
    "student": "checkpoint",
    "scores/teacher": "scores",
    "scores/control": "scores",
    "scores/student": "scores",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("toy"))
    (root / "first.log").write_text(run(root, "quickstart", "chain.toml"))
    return root


def test_every_stage_wrote_a_whole_artifact(finished):
    for folder, kind in KINDS.items():
        manifest = artifact.verify(finished / "out" / folder, kind=kind)
        assert manifest.created and manifest.config, folder
    chained = artifact.read_manifest(finished / "out/student").inputs.values()
    assert artifact.read_manifest(finished / "out/knowledge").content_hash in chained


def test_the_models_open_and_differ(finished):
    tokenizer = Tokenizer.load(finished / "out/student")
    assert tokenizer.content_hash == Tokenizer.load(finished / "out/tokenizer").content_hash
    student, control = (axk1.load_model(finished / "out" / name) for name in ("student", "control"))
    assert student.config.architecture == "Qwen3ForCausalLM"
    assert axk1.load_model(finished / "out/teacher").config.architecture == "AXK1ForCausalLM"
    assert not student.output_weight.equal(control.output_weight)


def test_metrics_show_the_teacher_s_influence(finished):
    lines = {
        name: [json.loads(line) for line in (finished / "out" / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("base", "student", "control")
    }
    assert len(lines["base"][-1]["expert_load"][0]) == 4
    assert lines["base"][-1]["cross_entropy"] < lines["base"][0]["cross_entropy"]
    student, control = (lines[name][-1]["kl_to_teacher"] for name in ("student", "control"))
    assert student < lines["student"][0]["kl_to_teacher"] and control > 0


def test_scores_and_report(finished):
    results = json.loads((finished / "out/scores/student/results.json").read_text())["results"]
    assert {"heldout_ko", "heldout_en"} <= set(results)
    page = (finished / "out/report.html").read_text()
    assert page.count("<svg") > 3 and "http-equiv" in page and "bits per byte" in page.lower()


def test_the_student_answers(finished):
    words = ("chat", "out/student", "--prompt", "3 + 4는 얼마인가요?", "--max-tokens", "8")
    answer = run(finished, *words)
    assert answer.strip() and answer == run(finished, *words)


def test_a_second_run_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "out").rglob("*.safetensors")}
    output = run(finished, "quickstart", "chain.toml")
    assert output.count("up to date") >= len(KINDS)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_dry_runs_print_plans_and_write_nothing(tmp_path):
    root = write_project(tmp_path / "p")
    assert "axk1 distill cache" in run(root, "quickstart", "chain.toml", "--dry-run", "--seeds", "2")
    run(root, "data", "build", "documents.toml", "--dry-run")
    assert not (root / "out").exists()


def test_killed_again_and_again_it_makes_the_same_student(finished, tmp_path):
    root = write_project(tmp_path / "p")
    killed = 0
    for moment in ("out/shards/text", "out/base.state", "out/knowledge.state", "out/student.state"):
        process = start(root, "quickstart", "chain.toml")
        while process.poll() is None and not (root / moment).exists():
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 3
    run(root, "quickstart", "chain.toml")
    for name in ("base", "teacher", "control", "student"):
        same = (root / "out" / name / "model.safetensors").read_bytes()
        assert same == (finished / "out" / name / "model.safetensors").read_bytes(), name
    assert not list((root / "out").glob("*.state")) and not list((root / "out").glob(".*"))
