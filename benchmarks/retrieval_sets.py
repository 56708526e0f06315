"""Real texts to search: passages, and questions of which we know the passages that answer them.

Nothing is fetched but the R&D manual (a package of the index, read as data); the rest lies in a folder of evaluation
data. A set whose files are absent is a sentence.
"""

import collections
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from axk1.data.download import fetch_file

MANUAL = (
    "korean-rnd-regs-mcp",
    "0.61.0",
    "485ca59025bff75f8870aa5b4ac01d11d3bde8b85875a42d7a76801d71a2b997",
)
_ASKED = re.compile(r"Q\s?\d+\.(.{10,400}?(?:\?|지|요\.)) *\n([-∙].*)", re.S)
_CASE = re.compile(r"사례 \d+\.\n(.*?)\n(정산결과\n.*)", re.S)
_MOST = 600
"""Characters of a passage of the manual."""


@dataclass
class Set:
    """Passages and questions about them."""

    name: str
    passages: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    relevant: list[set[int]] = field(default_factory=list)
    """For each question the passages that answer it."""

    def ask(self, question: str, relevant: set[int]) -> None:
        self.questions.append(question)
        self.relevant.append(relevant)

    @property
    def groups(self) -> list[int]:
        """For each question the first passage that answers it: questions on one text are alike."""
        return [min(relevant) for relevant in self.relevant]


def korquad(folder: Path) -> Set:
    """KorQuAD 1.0: a question in Korean -> the paragraph of Wikipedia that it was written for."""
    found = Set("KorQuAD")
    document = json.loads((folder / "korquad/KorQuAD_v1.0_dev.json").read_text(encoding="utf-8"))
    for paragraph in (paragraph for article in document["data"] for paragraph in article["paragraphs"]):
        for asked in paragraph["qas"]:
            found.ask(asked["question"], {len(found.passages)})
        found.passages.append(paragraph["context"])
    return found


def parakqc(folder: Path) -> Set:
    """ParaKQC: the first sentence of each group of ten paraphrases -> the other nine, among those of all groups."""
    found, groups = Set("ParaKQC"), collections.defaultdict(list)
    for row in _rows(folder / "retrieval/parakqc.jsonl"):
        groups[row["group"]].append(row["cols"][2])
    for first, *others in groups.values():
        found.ask(first, set(range(len(found.passages), len(found.passages) + len(others))))
        found.passages += others
    return found


def across(asked: str, held: str) -> Callable[[Path], Set]:
    """tldr pages: what a command does, said in one language -> the command's page in the other.

    A page keeps its commands, as the real page does; links and the question's marks of letters are taken out.
    """

    def read(folder: Path) -> Set:
        found = Set(f"tldr, {asked} -> {held}")
        for row in _rows(folder / "mt/tldr_en_ko.jsonl"):
            for line in re.findall(r"^- (.*?):?$", row[asked], re.M):
                found.ask(re.sub(r"[\[\]]", "", line), {len(found.passages)})
            found.passages.append(re.sub(r"^.*<https?://.*$", "", row[held], flags=re.M))
        return found

    return read


def documentation(asked: str, held: str) -> Callable[[Path], Set]:
    """Python's documentation: a paragraph in one language -> the same in the other, among all pages of ``across``."""

    def read(folder: Path) -> Set:
        found = Set(f"Python docs, {asked} -> {held}")
        for row in _rows(folder / "mt/python_docs_en_ko.jsonl"):
            found.ask(row[asked], {len(found.passages)})
            found.passages.append(row[held])
        found.passages += across(asked, held)(folder).passages
        return found

    return read


def manual(_: Path) -> Set:
    """The R&D regulation manual: its own questions ("Q3. ...?") and cases ("사례 2.") -> the answer below each.

    The question is cut out of the text, so that its passage holds the answer alone; the rest of the manual is cut into
    passages of at most 600 characters at line ends.
    """
    found = Set("R&D manual")
    name, version, sha256 = MANUAL
    with zipfile.ZipFile(fetch_file(name, version, sha256=sha256, file_type="wheel")) as wheel:
        names = sorted(name for name in wheel.namelist() if re.search(r"/manual_\w+\.json$", name))
        sections = [section for name in names for section in json.loads(wheel.read(name))["sections"]]
    for section in sections:
        text = "\n".join(page["text"] for page in section["pages"])
        for part in re.split(r"^(?=Q\s?\d+\.|사례 \d+\.)", text, flags=re.M):
            match = _ASKED.match(part) or _CASE.match(part)
            if match:
                found.ask(" ".join(match[1].split()), {len(found.passages)})
            found.passages += _cut(match[2] if match else part)
    return found


SETS: tuple[Callable[[Path], Set], ...] = (
    korquad,
    parakqc,
    across("en", "ko"),
    across("ko", "en"),
    documentation("en", "ko"),
    documentation("ko", "en"),
    manual,
)


def _cut(text: str) -> list[str]:
    """Passages of whole lines; an answer begins the first of them."""
    passages = [""]
    for line in text.split("\n"):
        if passages[-1] and len(passages[-1]) + len(line) > _MOST:
            passages.append("")
        passages[-1] += line + "\n"
    return [passage for passage in passages if passage.strip()]


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
