"""``axk1 report``: a run folder in, one self-contained HTML page out.

The page needs nothing but a browser: styles and charts are in it, there is no script, and its policy forbids loading
anything. Whatever comes from data (a model's answer, a source's name) is escaped by the template.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from axk1.core.artifact import write_text_atomic
from axk1.core.config import require
from axk1.core.progress import console, print_plan
from axk1.eval.report import provenance
from axk1.eval.report.figures import expert_figures, training_figures
from axk1.eval.report.findings import verdict
from axk1.eval.report.run_folder import RunFolder, read_run
from axk1.eval.report.samples import excerpt, sample_answers
from axk1.eval.report.score_figures import score_figures
from axk1.eval.report.scored import read_scores
from axk1.eval.report.svg import marker
from axk1.eval.report.tables import cards, errors_note, made_sentence, model_rows, score_rows
from axk1.eval.report.words import MODELS, ROLES, Words, both

HERE = Path(__file__).parent
LONGEST_CARD = 40_000  # characters of the data card that the page carries


@dataclass(frozen=True)
class ReportConfig:
    """What to report, and where to."""

    run: Path = Path("out/nano")
    """The run folder: documents, tokenizer, shards, base, teacher, knowledge, student, control, scores, or seed-N/."""
    output: Path | None = None
    """The page to write; left out, it is report.html in the run folder."""
    language: Literal["en", "ko"] = "en"
    """The language that the page opens in; the reader can switch."""
    samples: int = 8
    """How many sample answers to show: the first of each task, mode and language in turn, never picked by hand."""

    def __post_init__(self) -> None:
        require(0 <= self.samples <= 100, "samples", self.samples, "0 to 100")

    @property
    def page(self) -> Path:
        """The file that is written."""
        return self.output or self.run / "report.html"


def write_report(config: ReportConfig, *, dry_run: bool = False) -> Path:
    """Writes the page and returns its path. What the run lacks is named in the page.

    Raises:
        ArtifactError: the folder does not exist or holds nothing of a run.
    """
    run = read_run(config.run)
    seeds = len(run.seeds)
    found = ", ".join(name for name, _ in run.manifests()) or "scores only"
    print_plan("report", {"run": config.run, "seeds": seeds, "found": found, "output": config.page})
    if dry_run:
        return config.page
    html = render(run, config)
    write_text_atomic(config.page, html)
    console.print(f"{config.page} ({len(html.encode()) / 1e3:,.0f} KB)")
    return config.page


def render(run: RunFolder, config: ReportConfig) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"both": both, "t": _both_of, "mark": _mark, "names": ROLES}
    css = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.jinja").render(css=css, **_content(run, config))


def _content(run: RunFolder, config: ReportConfig) -> dict[str, Any]:
    """What the template shows, part by part."""
    stages, logs = run.manifests(), run.logs()
    scores = read_scores(run)
    findings = scores.findings
    data_card = _data_card(run)
    samples = sample_answers(scores.by_seed, config.samples)
    training = training_figures(logs)
    experts = expert_figures(logs)
    content = {
        "name": config.run.resolve().name,
        "run": str(config.run),
        "language": config.language,
        "verdict": verdict(findings, scores.seeds),
        "made": made_sentence(run),
        "cards": cards(findings, run),
        "errors_note": errors_note(scores.seeds),
        "table_roles": MODELS,
        "score_rows": score_rows(findings),
        "score_figures": score_figures(findings),
        "model_rows": model_rows(run),
        "training": training,
        "experts": experts,
        "samples": samples,
        "sources": provenance.sources(run.shared),
        "data_counts": [(name, words) for name, m in stages if (words := provenance.counts_in_words(m.counts))],
        "data_card": excerpt(data_card, LONGEST_CARD) if data_card else None,
        "machine": provenance.machine(),
        "versions": provenance.versions(stages),
        "commands": provenance.commands(stages),
        "missing": [*run.missing, *scores.missing],
    }
    return {**content, "contents": _contents(content)}


def _contents(content: Mapping[str, Any]) -> list[tuple[str, Words]]:
    """The sections that the page has, for the links at the top."""
    sections = [
        ("scores", Words("Scores", "점수"), True),
        ("training", Words("Training", "학습"), content["training"]),
        ("experts", Words("Experts", "전문가"), content["experts"]),
        ("answers", Words("Sample answers", "답변 예시"), content["samples"]),
        ("data", Words("Data", "데이터"), content["sources"] or content["data_card"]),
        ("reproduce", Words("Reproduce", "재현"), True),
        ("missing", Words("What is missing", "빠진 것"), content["missing"]),
    ]
    return [(id, title) for id, title, there in sections if there]


def _data_card(run: RunFolder) -> str:
    try:
        return (run.path / "documents" / "data_card.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _both_of(english: str, korean: str) -> Markup:
    return both(Words(english, korean))


def _mark(role: str) -> Markup:
    return marker(role, 7.0, 7.0)
