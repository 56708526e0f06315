"""The report page: what it says, what it survives, and that nothing in it is anything but text and drawings."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import LEVELS, write_models, write_run, write_scores, write_shared

from axk1.core.errors import ArtifactError, ConfigError
from axk1.eval.compare import compare_scores
from axk1.eval.report import ReportConfig, write_report
from axk1.eval.report.samples import split_thought
from axk1.eval.scores import Scores

VOID = {"meta", "input", "br", "img", "link", "hr"}
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


class Page(HTMLParser):
    """A page taken apart: tags, attributes and visible text; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html, self.open, self.tags, self.texts = html, [], [], []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def values(self, key: str, tag: str | None = None) -> list[str]:
        return [value for t, k, value in self.attributes if k == key and tag in (t, None)]

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ")

    @property
    def headline(self) -> str:
        return re.sub("<[^>]*>", "", re.search(r'<h1><span class="en" lang="en">(.*?)</span>', self.html, re.S)[1])


def page_of(run: Path, **options: object) -> Page:
    return Page(write_report(ReportConfig(run, **options)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "nano")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "nano")


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return page_of(finished)


def test_page_is_one_small_file_that_loads_nothing(page: Page) -> None:
    assert len(page.html.encode()) < 1_500_000
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on") or key in ("src", "xlink:href")]
    assert all(href.startswith("#") for href in page.values("href"))
    assert not re.search(r"url\((?!#)|@import|https?://", page.html)
    assert "default-src 'none'" in page.html


def test_everything_is_said_in_both_languages(page: Page) -> None:
    classes = Counter(name for value in page.values("class") for name in value.split())
    assert classes["en"] == classes["ko"] > 100
    assert not re.search(
        r'class="ko" lang="ko"></span>', page.html.replace('<span class="ko" lang="ko"></span>', "", 0)
    )
    hangul = re.findall(r'<span class="ko" lang="ko">([^<]*)</span>', page.html)
    assert sum(bool(re.search("[가-힣]", text)) for text in hangul) > 0.8 * len(hangul)


def test_page_can_be_read_by_everyone(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    labels = page.values("aria-labelledby", "svg")
    assert len(labels) >= 10
    assert set(labels) <= set(ids)
    assert page.tags.count("svg") == len(labels) + page.html.count('aria-hidden="true"')
    assert set(page.values("scope")) == {"col", "row", "rowgroup"}
    assert page.tags.count("th") == len(page.values("scope"))
    assert {value for tag, key, value in page.attributes if tag == "label" and key == "for"} <= set(ids)
    assert set(page.values("href")) <= {f"#{id}" for id in ids}


def test_score_table_shows_what_compare_computes(finished: Path, page: Page) -> None:
    rows = compare_scores({role: [Scores.open(finished / "scores" / role)] for role in LEVELS})
    for row in rows:
        for estimate in row.values.values():
            shown = f"{estimate.value:.3f}" if row.metric == "bits_per_byte" else f"{100 * estimate.value:.1f} %"
            assert shown in page.text
        if row.task.startswith("heldout"):
            assert f"{row.gain.value:+.3f}".replace("-", "−") in page.text
            assert row.gap is not None
            assert f"{100 * row.gap.value:.0f} %" in page.text


def test_page_names_sizes_tokens_time_and_sources(page: Page) -> None:
    for part in ("12.03 M", "6.13 M", "1.31 M", "2.46 M", "4 min 00 s", "AXK1ForCausalLM", "Qwen3ForCausalLM"):
        assert part in page.text
    for part in ("korean-assembly-bills", "CC BY 4.0; National Assembly", "5,161 (7.88 MB)", "1 min 14 s"):
        assert part in page.text
    assert "What is missing" not in page.text


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (({"ko": 1.829, "en": 2.24}, 0.60), "beats the same student trained alone, and closes"),
        (({"ko": 1.95, "en": 2.40}, 0.10), "loses to the same student trained alone"),
        (({"ko": 1.907, "en": 2.33}, 0.35), "cannot be told apart"),
        (
            ({"ko": 1.829, "en": 2.40}, 0.35),
            "Mixed: against the same student trained alone, the taught student is ahead on Korean text; it is behind "
            "on English text; it cannot be told apart on reasoning.",
        ),
        (
            ({"ko": 1.95, "en": 2.40}, 0.35),
            "Against the same student trained alone, the taught student is behind on Korean text and English text; "
            "it cannot be told apart on reasoning.",
        ),
    ],
)
def test_verdict_follows_the_numbers(tmp_path: Path, student: tuple[dict[str, float], float], expected: str) -> None:
    run = write_run(tmp_path / "nano", levels={**LEVELS, "student": student}, steps=40)
    page = page_of(run)
    assert expected in page.headline
    if expected.startswith("loses"):
        assert "▼" in page.text
        assert "▲" not in page.text


def test_a_weaker_teacher_leaves_no_gap_to_close(tmp_path: Path) -> None:
    run = write_run(tmp_path / "nano", levels={**LEVELS, "teacher": ({"ko": 2.5, "en": 2.9}, 0.05)}, steps=40)
    page = page_of(run)
    assert page.headline == "The taught student beats the same student trained alone."
    assert "fig-gap" not in page.html


def test_three_seeds_are_means_with_errors_over_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "nano", seeds=3, steps=100)
    page = page_of(run)
    assert "Means over 3 seeds" in page.text
    seeds = [run, run / "seed-1", run / "seed-2"]
    rows = compare_scores({role: [Scores.open(s / "scores" / role) for s in seeds] for role in LEVELS})
    assert f"{rows[0].values['student'].value:.3f}" in page.text
    shutil.rmtree(run / "seed-2" / "scores" / "control")
    again = page_of(run)
    assert "Means over 2 seeds" in again.text
    assert "seed-2/scores/control" in again.text


PARTS = ["documents", "conversations", "tokenizer", "shards/text", "shards/chat", "base", "teacher", "knowledge"]
PARTS += ["student", "control", "scores/teacher", "scores/student", "scores/control"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(run: Path, part: str) -> None:
    shutil.rmtree(run / part)
    page = page_of(run)
    assert "What is missing" in page.text
    assert f"<code>{part}</code>" in page.html
    if part in ("scores/student", "scores/control"):
        assert page.headline == "No verdict yet: student and control cannot be compared."
        assert "1.740" in page.text  # the teacher's own score is shown all the same


@pytest.mark.parametrize("part", ["teacher", "student", "scores/control", "documents"])
def test_a_corrupt_manifest_is_named(run: Path, part: str) -> None:
    (run / part / "manifest.json").write_text('{"kind": "ch', encoding="utf-8")
    page = page_of(run)
    assert f"<code>{part}</code>" in page.html
    assert "is corrupt" in page.text


def test_a_run_that_has_only_just_begun(tmp_path: Path) -> None:
    write_shared(tmp_path / "nano")
    page = page_of(tmp_path / "nano")
    assert page.headline.startswith("No verdict yet")
    assert "no finished teacher yet" in page.text
    assert "korean-assembly-bills" in page.text


def test_a_stage_under_way_shows_its_log(run: Path) -> None:
    state = run / "student.state"
    state.mkdir()
    shutil.move(run / "student" / "metrics.jsonl", state / "metrics.jsonl")
    shutil.rmtree(run / "student")
    page = page_of(run)
    assert "<code>student</code>" in page.html
    assert 'class="line student' in page.html


def test_damaged_logs(run: Path) -> None:
    (run / "base" / "metrics.jsonl").write_text("", encoding="utf-8")
    cut = (run / "teacher" / "metrics.jsonl").read_text(encoding="utf-8")[:-20]
    (run / "teacher" / "metrics.jsonl").write_text(cut, encoding="utf-8")
    lines = [json.loads(line) for line in (run / "student" / "metrics.jsonl").read_text().splitlines()]
    for line in lines[5:9]:
        line["loss"] = line["cross_entropy"] = line["grad_norm"] = float("nan")
    lines[12]["grad_norm"], lines[13]["tokens_per_second"], lines[14]["lr"] = float("inf"), 1e300, None
    (run / "student" / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (run / "control" / "metrics.jsonl").write_bytes(b"\xff\xfe\x00 no log at all\n")
    page = page_of(run)
    for name in ("base/metrics.jsonl", "teacher/metrics.jsonl", "control/metrics.jsonl"):
        assert f"<code>{name}</code>" in page.html
    assert "4 logged steps had no finite loss" in page.text
    assert not re.search(r'(?:x|y|x1|x2|y1|y2|cx|cy|d)="[^"]*(?:nan|inf)', page.html)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_log_of_one_or_two_steps_is_drawn(run: Path, keep: int) -> None:
    for role in ("base", "teacher", "student", "control"):
        path = run / role / "metrics.jsonl"
        path.write_text("\n".join(path.read_text().splitlines()[:keep]), encoding="utf-8")
    page = page_of(run)
    assert "fig-student" in page.values("id")
    assert "fig-experts" in page.values("id")


def test_scores_of_other_problems_are_not_compared(run: Path) -> None:
    bits, right = LEVELS["control"]
    shutil.rmtree(run / "scores" / "control")
    write_scores(run / "scores" / "control", bits={"ko": bits["ko"]}, right=right)
    page = page_of(run)
    assert page.headline.startswith("No verdict yet")
    assert "not measured on the same problems and documents" in page.text


def test_corrupt_samples_are_named(run: Path) -> None:
    samples = run / "scores" / "student" / "samples_heldout_ko.jsonl"
    samples.write_text(samples.read_text()[:-30], encoding="utf-8")
    assert "<code>scores/student</code>" in page_of(run).html
    samples.write_text('{"doc_id": "a"}\n', encoding="utf-8")
    assert page_of(run).headline.startswith("No verdict yet")


def test_nothing_from_data_becomes_markup(run: Path) -> None:
    path = run / "scores" / "student" / "samples_reasoning_chain_sum.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["resps"] = [[f"{HOSTILE} thought</think>{HOSTILE} answer"]]
        line["doc"]["question"] = line["target"] = line["doc"]["task"] = HOSTILE
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (run / "documents" / "data_card.md").write_text(HOSTILE, encoding="utf-8")
    for part in ("documents", "student"):
        manifest = json.loads((run / part / "manifest.json").read_text())
        manifest |= {"licences": {HOSTILE: HOSTILE}, "command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
        manifest["counts"][HOSTILE] = "<b>1</b>"
        (run / part / "manifest.json").write_text(json.dumps(manifest))
    page = page_of(run)
    assert not {"script", "img", "b"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert page.text.count(HOSTILE) >= 8


def test_unknown_tasks_languages_and_missing_fields_do_no_harm(run: Path) -> None:
    for role in LEVELS:
        path = run / "scores" / role / "samples_reasoning_gcd.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            line["doc"] = {"problem": line["doc"]["problem"], "language": "fr"}
            del line["resps"], line["target"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert "(no answer)" in page_of(run, samples=12).text


def test_sample_answers_are_chosen_without_looking_at_answers(run: Path) -> None:
    page = page_of(run, samples=6)
    assert page.html.count('<article class="answer">') == 6
    questions = re.findall(r'<div class="prompt said" dir="auto">(.*?)</div>', page.html)
    for role in LEVELS:
        for path in (run / "scores" / role).glob("samples_reasoning_*"):
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for line in lines:
                line["exact_match"], line["resps"] = 1.0 - line["exact_match"], [["something else"]]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert re.findall(r'<div class="prompt said" dir="auto">(.*?)</div>', page_of(run, samples=6).html) == questions
    assert page_of(run, samples=0).html.count("<article") == 0


def test_marks_do_not_rest_on_colour(page: Page) -> None:
    assert page.html.count("✓ <span") == len(re.findall(r"✓ <span class=\"en\" lang=\"en\">correct", page.html)) > 0
    assert page.html.count("✗ <span") == len(re.findall(r"✗ <span class=\"en\" lang=\"en\">incorrect", page.html)) > 0


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_text_has_enough_contrast_in_light_and_dark(page: Page, theme: int) -> None:
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", page.html, re.S)[theme]))
    for ground in ("paper", "panel", "wash"):
        for ink in ("ink", "soft", "teacher", "student", "control", "base", "good", "bad"):
            light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)  # WCAG 2 level AA


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert page_of(run).html == page_of(run).html


def test_options(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere" / "page.html"
    write_report(ReportConfig(run))
    assert write_report(ReportConfig(run, output=output), dry_run=True) == output
    assert not output.exists()
    assert write_report(ReportConfig(run, output=output, language="ko")) == output
    assert re.search(r'id="korean"[^>]* checked', output.read_text(encoding="utf-8"))
    assert (run / "report.html").read_text(encoding="utf-8") != output.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="samples = -1"):
        ReportConfig(run, samples=-1)


@pytest.mark.parametrize("notes", ["", "[]", '{"Tokenizer": 3}', '{"Tokenizer": {"seconds": "long"}}'])
def test_without_the_chain_s_notes_the_training_stages_are_summed(run: Path, notes: str) -> None:
    (run / "chain.json").write_text(notes, encoding="utf-8")
    assert "14 min 00 s" in page_of(run).text
    assert "training stages" in page_of(run).text


def test_no_run_no_page(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        write_report(ReportConfig(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no artifact"):
        write_report(ReportConfig(tmp_path / "empty"))
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_model_without_a_config_is_named(tmp_path: Path) -> None:
    write_models(tmp_path / "nano", steps=40)
    (tmp_path / "nano" / "teacher" / "config.json").unlink()
    assert "there is no model here" in page_of(tmp_path / "nano").text


def test_needs_no_torch() -> None:
    check = "import sys, axk1.eval.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=120).returncode == 0


@given(st.text(max_size=80), st.text(max_size=80))
def test_thought_and_answer_are_told_apart(thought: str, answer: str) -> None:
    thought, answer = thought.replace("<", ""), answer.replace("<", "")
    assert split_thought(f"{thought}</think>\n\n{answer}", thinking=True) == (thought.strip(), answer.strip())
    assert split_thought(f"<think>{thought}</think>{answer}", thinking=False) == (thought.strip(), answer.strip())
    assert split_thought(thought, thinking=True) == (thought.strip(), "")
    assert split_thought(answer, thinking=False) == ("", answer.strip())
