"""A teacher's answers: verified, the same after a kill, and of use to the next stage."""

import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distill_world import bigram_model
from write_server import serving

from axk1.core.artifact import building, verify, write_manifest
from axk1.core.errors import ArtifactError, AXK1Error, ConfigError
from axk1.data.conversations import ConversationsConfig, build_conversations
from axk1.data.tokenize import ShardsConfig, build_shards
from axk1.distill.config import ServerSource
from axk1.distill.journal import Journal
from axk1.distill.questions import PromptFile
from axk1.distill.write import write_answers
from axk1.distill.write_config import WriteConfig
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.eval.examination import set_questions
from axk1.eval.graders import grade
from axk1.eval.tasks import TASKS
from axk1.model.checkpoint import save_model
from axk1.tokenizer.training import learn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """It thinks "a", and answers with a digit, "1" more often than another."""
    tokenizer = learn(iter([f"find gcd {i}\n" for i in range(30)]), vocab_size=290, reserved_tokens=7)
    one = {digit: tokenizer.encode(str(digit))[0] for digit in range(10)}
    think, think_end, end = (tokenizer.token_id(name) for name in ("<think>", "</think>", "<|im_end|>"))
    thought = tokenizer.encode("a")[0]
    table = torch.full((290, 290), -40.0, dtype=torch.float64)
    table[think, thought] = table[thought, think_end] = 0
    for digit, token in one.items():
        table[think_end, token] = 1.5 if digit == 1 else 0.0
        table[token, end] = 0
    folder = tmp_path_factory.mktemp("write") / "teacher"
    with building(folder) as new:
        save_model(bigram_model(torch.log_softmax(table, -1), 290, positions=512), new)
        tokenizer.save(new)
        write_manifest(new, kind="checkpoint")
    return folder


def recipe(teacher, output, **changes):
    return WriteConfig(
        **{"teacher": teacher, "output": output, "count": 120, "weights": {"gcd": 1.0}, "threads": 1, **changes}
    )


def read(folder, name="train.jsonl.gz"):
    with gzip.open(folder / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def written(teacher):
    return write_answers(recipe(teacher, teacher.parent / "written"))


def test_what_is_kept_is_right_and_all_else_is_named(written):
    kept, rejected = read(written), read(written, "rejected.jsonl.gz")
    assert 30 < len(kept) < 115
    assert len(kept) + len(rejected) == 120 * 4
    for line in kept:
        task, number, mode = line["id"].split("/")
        problem, reply = TASKS[task].problem(int(number)), line["messages"][1]
        assert problem.identity == line["problem"] and not problem.held_out
        assert grade(problem.entry, reply["content"]).exact_match
        assert (reply.get("reasoning_content") == "a") == (mode == "think")
        assert line["provenance"]["right"] >= 1 and line["provenance"]["tried"] == 4
    reasons = {line["reason"] for line in rejected}
    assert reasons == {"wrong answer", "right, but another one was kept"}
    texts = {(line["messages"][0]["content"], line["mode"]) for line in kept}
    assert len(texts) == len(kept)


def test_the_figures_are_those_of_the_files(written):
    counts = verify(written, kind="conversations").counts
    row, kept, rejected = counts["acceptance"]["gcd"], read(written), read(written, "rejected.jsonl.gz")
    assert (row["questions"], row["samples"], row["accepted"]) == (120, 480, len(kept))
    assert row["right"] == len(kept) + sum("another" in line["reason"] for line in rejected)
    assert row["right"] == sum(line["provenance"]["right"] for line in kept)


def test_a_sample_can_be_written_again_from_its_provenance(written, teacher):
    model = LLM.load(teacher)
    for line in read(written)[:5]:
        said = line["provenance"]
        messages = line["messages"][:1]
        options = {"enable_thinking": line["mode"] == "think", "add_generation_prompt": True}
        ids = model.tokenizer.encode_chat(messages, **options).ids
        params = SamplingParams(seed=said["seed"], temperature=1.0, max_tokens=said["max_tokens"])
        assert model.generate([list(ids)], params)[0].text.endswith(line["messages"][1]["content"])


def test_the_questions_are_those_of_the_generator_and_no_examination_asks_them(written, tmp_path):
    config = ConversationsConfig(output=tmp_path / "c", count=120, weights={"gcd": 1.0})
    asked = {line["id"]: line["messages"][0] for line in read(build_conversations(config))}
    assert all(asked[line["id"]] == line["messages"][0] for line in read(written))
    examined = {one.problem.identity for one in set_questions(TASKS["gcd"], 48, ("ko", "en"), 0)}
    assert not examined & {line["problem"] for line in read(written)}


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(written, teacher, tmp_path):
    output = tmp_path / "out"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from axk1.distill import write, write_config, journal\n"
        "add = journal.Journal.append\n"
        "journal.Journal.append = lambda self, lines: (add(self, lines), time.sleep(0.5))\n"
        "write.write_answers(write_config.WriteConfig(teacher=Path(sys.argv[1]), output=Path(sys.argv[2]), count=120,"
        " weights={'gcd': 1.0}, threads=1))"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(teacher), str(output)], cwd=ROOT, stderr=subprocess.DEVNULL)
    lines = output.with_name("out.state") / "lines.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = lines.read_bytes().count(b"\n")
    assert 0 < done < 120
    with open(lines, "ab") as file:  # and the line that it was adding was cut in the middle
        file.write(b'{"number": %d, "kept": nu' % done)
    write_answers(recipe(teacher, output))
    for name in ("train.jsonl.gz", "rejected.jsonl.gz"):
        assert (output / name).read_bytes() == (written / name).read_bytes()
    assert not lines.exists()


def test_a_journal_of_other_work_is_not_taken_up_and_a_damaged_one_is_refused(tmp_path):
    journal = Journal(tmp_path / "j", {"seed": 1})
    assert journal.open() == []
    journal.append([{"number": 0}, {"number": 1}])
    assert [line["number"] for line in Journal(tmp_path / "j", {"seed": 1}).open()] == [0, 1]
    (tmp_path / "j" / "lines.jsonl").write_text('{"number": 0}\n{"number": 2}\n')
    with pytest.raises(ArtifactError, match=r"line 2 of .* is damaged"):
        journal.open()
    assert Journal(tmp_path / "j", {"seed": 2}).open() == []


def test_another_seed_writes_other_answers_and_shortest_keeps_another(written, teacher, tmp_path):
    other = read(write_answers(recipe(teacher, tmp_path / "other", seed=1)))
    assert [line["id"] for line in other] != [line["id"] for line in read(written)]


def test_the_next_stage_takes_them(written, teacher, tmp_path):
    config = ShardsConfig(output=tmp_path / "shards", tokenizer=teacher, inputs=(written,), max_length=256)
    assert verify(build_shards(config)).counts["samples"] == len(read(written))


def file_of(folder, lines, **changes):
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return PromptFile(**{"path": path, "task": "own", **changes})


def test_prompts_of_a_file_are_compared_with_their_answers_and_doubles_are_asked_once(teacher, tmp_path):
    lines = [{"prompt": f"say {i}", "answer": str(i % 10)} for i in range(40)]
    file = file_of(tmp_path, [*lines, {"prompt": " SAY  7 ", "answer": "7"}])
    out = write_answers(recipe(teacher, tmp_path / "out", count=0, files=(file,), samples=6))
    kept = read(out)
    assert verify(out).counts["acceptance"]["own"]["questions"] == 80
    assert 20 < len(kept) < 80
    for line in kept:
        assert line["messages"][1]["content"] == lines[int(line["id"].split("/")[1])]["answer"]
        assert line["provenance"]["grader"] == "exact"


def test_prompts_that_an_examination_asks_are_left_out(teacher, tmp_path):
    asked = [question.text for question in set_questions(TASKS["gcd"], 4, ("en",), 0)]
    file = file_of(tmp_path, [{"prompt": text, "answer": "1"} for text in [*asked, "say one"]], modes=("no_think",))
    out = write_answers(recipe(teacher, tmp_path / "out", count=0, files=(file,), samples=16))
    assert verify(out).counts["acceptance"]["own"]["questions"] == 1


def test_programs_are_refused_where_there_is_no_sandbox(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    file = file_of(tmp_path, [{"prompt": "p", "tests": "assert True"}], grader="code")
    with pytest.raises(AXK1Error, match="bwrap is not installed"):
        write_answers(recipe(teacher, tmp_path / "out", count=0, files=(file,)))
    assert not (tmp_path / "out").exists()


def test_where_no_answer_is_right_nothing_is_made(teacher, tmp_path):
    file = file_of(tmp_path, [{"prompt": "p", "answer": "never"}])
    with pytest.raises(AXK1Error, match="answered none of 2 questions right"):
        write_answers(recipe(teacher, tmp_path / "out", count=0, files=(file,)))


def test_a_server_answers_as_the_same_checkpoint_does(teacher, tmp_path):
    config = recipe(teacher, tmp_path / "out", count=16)
    with serving(teacher) as url:
        server = ServerSource(base_url=f"{url}/v1", model="teacher", batch=4)
        answered = read(write_answers(dataclasses.replace(config, server=server)))
    own = read(write_answers(dataclasses.replace(config, output=tmp_path / "own")))
    assert len(own) > 2 and [line["messages"] for line in answered] == [line["messages"] for line in own]


def test_a_server_that_is_not_there_is_named(tmp_path):
    server = ServerSource(base_url="http://127.0.0.1:9/v1", model="m", retries=0)
    config = WriteConfig(output=tmp_path / "out", server=server, count=4, weights={"gcd": 1.0})
    with pytest.raises(AXK1Error, match="does not answer"):
        write_answers(config)


def test_a_dry_run_writes_nothing(teacher, tmp_path):
    write_answers(recipe(teacher, tmp_path / "out"), dry_run=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": None}, "teacher = None is not allowed"),
        ({"temperature": 0.0}, "samples = 4 is not allowed; allowed: 1, since temperature = 0"),
        ({"count": 0}, "count = 0 is not allowed"),
        ({"weights": {"chess": 1.0}}, "weights = 'chess' is not allowed"),
    ],
)
def test_bad_recipes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        WriteConfig(**{"teacher": Path("t"), "output": Path("o"), "weights": {"gcd": 1.0}, **change})
