"""``Store``: documents, passages and vectors in one SQLite file; what it says is the truth about an index.

A passage's text lies in its row, and with it the white space up to the next passage, so that the document's text is
its passages joined. Rows are numbered and a number is never given twice. The inverted index and the vector index are
made from here; the store remembers up to which number each of them goes, and which numbers they have yet to forget.
Writers change it in transactions; readers in other processes go on reading meanwhile (SQLite's write-ahead log).
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from axk1.core.errors import ArtifactError
from axk1.search.documents.document import SearchDocument
from axk1.search.passage import Passage
from axk1.search.retriever import Bounds

FILE = "index.sqlite"
FORMAT = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, hash TEXT NOT NULL, bytes INTEGER NOT NULL, problem TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, file TEXT NOT NULL, hash TEXT NOT NULL,
    title TEXT NOT NULL, date TEXT NOT NULL, characters INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS documents_of_file ON documents (file);
CREATE INDEX IF NOT EXISTS documents_by_date ON documents (date);
CREATE TABLE IF NOT EXISTS passages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, document INTEGER NOT NULL, section TEXT NOT NULL,
    page INTEGER, start INTEGER NOT NULL, text TEXT NOT NULL, gap TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS passages_by_id ON passages (id);
CREATE INDEX IF NOT EXISTS passages_of_document ON passages (document, number);
CREATE TABLE IF NOT EXISTS vectors (passage INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (passage INTEGER PRIMARY KEY, words INTEGER NOT NULL, vectors INTEGER NOT NULL);
"""
_PASSAGE = (
    "SELECT p.number, p.id, d.name, d.title, p.section, p.page, p.start, p.text, d.date"
    " FROM passages p JOIN documents d ON d.number = p.document"
)


class Store:
    """One connection for each thread that reads; one writer at a time, who holds the lock of the build."""

    def __init__(self, folder: Path, *, writes: bool = False) -> None:
        """Opens the file in a folder; a writer makes it where there is none.

        Raises:
            ArtifactError: there is no index, it is damaged, or another version made it.
        """
        self._path, self._writes = folder / FILE, writes
        self._threads = threading.local()
        if not writes and not self._path.exists():
            raise ArtifactError(f"{str(folder)!r} holds no search index", repair="axk1 search build RECIPE")
        try:
            if writes:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self.connection.executescript(_SCHEMA)
                self.connection.execute("INSERT OR IGNORE INTO facts VALUES ('format', ?)", (FORMAT,))
            found = self.fact("format")
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"{str(self._path)!r} is damaged: {error}", repair=f"rm -r {folder}, then build"
            ) from None
        if found != FORMAT:
            problem = f"{str(self._path)!r} has format {found or 'unknown'}; this version reads {FORMAT}"
            raise ArtifactError(problem, repair=f"rm -r {folder}, then axk1 search build RECIPE")

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode."""
        if not hasattr(self._threads, "connection"):
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=60)
            if self._writes:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")  # what is deleted leaves no bytes in free pages
            else:
                connection.execute("PRAGMA query_only = 1")
            connection.execute("PRAGMA cache_size = -32768")
            self._threads.connection = connection
        return self._threads.connection

    def close(self) -> None:
        """Closes this thread's connection."""
        if hasattr(self._threads, "connection"):
            self._threads.connection.close()
            del self._threads.connection

    def __enter__(self) -> "Store":
        """Begins a transaction; the block's end commits it, an error undoes it."""
        self.connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.connection.execute("COMMIT" if kind is None else "ROLLBACK")

    def fact(self, name: str, default: str = "") -> str:
        """A remembered value."""
        row = self.connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else default

    def remember(self, **facts: object) -> None:
        """Remembers values, as text."""
        rows = [(name, str(value)) for name, value in facts.items()]
        self.connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def counts(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        query = "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
        return self.connection.execute(query).fetchone()

    def last_passage(self) -> int:
        """The greatest number of a passage; 0 where there is none."""
        return self.connection.execute("SELECT ifnull(max(number), 0) FROM passages").fetchone()[0]

    # Files and documents

    def files(self) -> dict[str, tuple[str, str]]:
        """Content hash and problem of each file that was read, by name."""
        return {
            name: (digest, why)
            for name, digest, why in self.connection.execute("SELECT name, hash, problem FROM files")
        }

    def put_file(self, name: str, digest: str, size: int, problem: str = "") -> None:
        """Remembers that a file with this content was read, or why it could not be."""
        self.connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, digest, size, problem))

    def drop_file(self, name: str) -> None:
        """Forgets a file and its documents."""
        for number, _ in self.documents_of(name).values():
            self.drop_document(number)
        self.connection.execute("DELETE FROM files WHERE name = ?", (name,))

    def documents_of(self, file: str) -> dict[str, tuple[int, str]]:
        """Number and content hash of each document that a file gave, by name."""
        rows = self.connection.execute("SELECT name, number, hash FROM documents WHERE file = ?", (file,))
        return {name: (number, digest) for name, number, digest in rows}

    def drop_document(self, number: int) -> None:
        """Removes a document with its passages, and notes what the derived indices have to forget."""
        run = self.connection.execute
        run("INSERT INTO forgotten SELECT number, 1, 1 FROM passages WHERE document = ?", (number,))
        run("DELETE FROM vectors WHERE passage IN (SELECT number FROM passages WHERE document = ?)", (number,))
        run("DELETE FROM passages WHERE document = ?", (number,))
        run("DELETE FROM documents WHERE number = ?", (number,))

    def put_document(self, file: str, document: SearchDocument, digest: str, spans: Sequence[tuple[int, int]]) -> int:
        """Adds a document with its passages and returns its number; its name must be free."""
        row = (document.name, file, digest, document.title, document.date, len(document.text))
        insert = "INSERT INTO documents (name, file, hash, title, date, characters) VALUES (?, ?, ?, ?, ?, ?)"
        number = self.connection.execute(insert, row).lastrowid
        nexts = [start for start, _ in spans[1:]] + [len(document.text)]
        rows = [
            (
                f"{digest[:16]}-{start:x}-{end - start:x}", number, document.section(_headed(document, start, end)),
                document.page(start), start, document.text[start:end], document.text[end:following],
            )
            for (start, end), following in zip(spans, nexts, strict=True)
        ]  # fmt: skip
        names = "id, document, section, page, start, text, gap"
        self.connection.executemany(f"INSERT INTO passages ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return number

    def documents(self) -> Iterator[tuple[str, str, str, int]]:
        """Name, title, date and length of each document, by name."""
        yield from self.connection.execute("SELECT name, title, date, characters FROM documents ORDER BY name")

    def document_text(self, name: str) -> str | None:
        """The whole text of a document; None where there is none of this name."""
        query = (
            "SELECT p.text || p.gap FROM passages p JOIN documents d ON d.number = p.document"
            " WHERE d.name = ? ORDER BY p.number"
        )
        pieces = [text for (text,) in self.connection.execute(query, (name,))]
        return "".join(pieces) if pieces else None

    def problems(self) -> list[tuple[str, str]]:
        """Files that could not be read, with the reasons."""
        return list(self.connection.execute("SELECT name, problem FROM files WHERE problem != '' ORDER BY name"))

    # Passages

    def passage(self, identifier: str) -> Passage | None:
        """A passage by its id."""
        row = self.connection.execute(f"{_PASSAGE} WHERE p.id = ?", (identifier,)).fetchone()
        return _passage(row)[1] if row else None

    def passages(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """Passages by number; numbers that are no more are left out."""
        marks = ",".join("?" * len(numbers))
        return dict(map(_passage, self.connection.execute(f"{_PASSAGE} WHERE p.number IN ({marks})", list(numbers))))

    def passages_after(self, number: int, most: int) -> list[tuple[int, Passage]]:
        """The next passages in the order of numbers."""
        rows = self.connection.execute(f"{_PASSAGE} WHERE p.number > ? ORDER BY p.number LIMIT ?", (number, most))
        return [_passage(row) for row in rows]

    def within(self, bounds: Bounds, *, among: Sequence[int] | None = None, most: int = -1) -> list[int]:
        """Numbers of passages whose document lies within bounds.

        Args:
            bounds: days and beginnings of names.
            among: look at these numbers only.
            most: stop at so many; -1 for all.
        """
        where, values = [], []
        if bounds.since or bounds.until:
            where.append("d.date BETWEEN ? AND ?")
            values += [bounds.since or "0001", bounds.until or "9999-99-99"]
        if bounds.documents:
            where.append("(" + " OR ".join("d.name >= ? AND d.name < ?" for _ in bounds.documents) + ")")
            values += [value for name in bounds.documents for value in (name, name + "\U0010ffff")]
        if among is not None:
            where.append("p.number IN (SELECT value FROM json_each(?))")  # variables are limited in number
            values.append(json.dumps(list(among)))
        query = "SELECT p.number FROM documents d JOIN passages p ON p.document = d.number WHERE "
        rows = self.connection.execute(f"{query} {' AND '.join(where or ['1'])} LIMIT ?", [*values, most])
        return [number for (number,) in rows]

    # What the derived indices have yet to do

    def to_forget(self, which: str) -> list[int]:
        """Numbers that ``words`` or ``vectors`` still hold although their passages are gone."""
        return [number for (number,) in self.connection.execute(f"SELECT passage FROM forgotten WHERE {which}")]

    def forgot(self, which: str) -> None:
        """Notes that a derived index has forgotten all of them."""
        self.connection.execute(f"UPDATE forgotten SET {which} = 0")
        self.connection.execute("DELETE FROM forgotten WHERE NOT words AND NOT vectors")

    # Vectors

    def vector_count(self) -> int:
        """How many passages have a vector."""
        return self.connection.execute("SELECT count(*) FROM vectors").fetchone()[0]

    def without_vectors(self, number: int, most: int) -> list[tuple[int, Passage]]:
        """The next passages, in the order of numbers, that have no vector."""
        query = f"{_PASSAGE} LEFT JOIN vectors v ON v.passage = p.number WHERE p.number > ? AND v.passage IS NULL"
        rows = self.connection.execute(f"{query} ORDER BY p.number LIMIT ?", (number, most))
        return [_passage(row) for row in rows]

    def put_vectors(self, numbers: Sequence[int], vectors: np.ndarray) -> None:
        """Keeps vectors [passages, dimensions] as float16."""
        rows = [(number, row.tobytes()) for number, row in zip(numbers, vectors.astype("<f2"), strict=True)]
        self.connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def vectors_after(self, number: int, most: int) -> tuple[list[int], np.ndarray]:
        """The next vectors in the order of numbers: numbers, and float16 [passages, dimensions]."""
        query = "SELECT passage, vector FROM vectors WHERE passage > ? ORDER BY passage LIMIT ?"
        rows = self.connection.execute(query, (number, most)).fetchall()
        vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f2")
        return [row[0] for row in rows], vectors.reshape(len(rows), -1) if rows else np.empty((0, 0))

    def vectors_of(self, numbers: Sequence[int]) -> tuple[list[int], np.ndarray]:
        """The vectors of these passages, of those that have one: numbers, and float16 [passages, dimensions]."""
        marks = ",".join("?" * len(numbers))
        query = f"SELECT passage, vector FROM vectors WHERE passage IN ({marks})"
        rows = self.connection.execute(query, list(numbers)).fetchall()
        vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f2")
        return [row[0] for row in rows], vectors.reshape(len(rows), -1) if rows else np.empty((0, 0))

    def drop_vectors(self) -> None:
        """Forgets all vectors, as for another encoder."""
        self.connection.execute("DELETE FROM vectors")


def _headed(document: SearchDocument, start: int, end: int) -> int:
    """Where the words of a passage begin that opens with headings: at the last heading of that run."""
    place = start
    for heading in document.headings:
        if start <= heading.start < end:
            place = heading.start
    return place


def _passage(row: Sequence) -> tuple[int, Passage]:
    number, identifier, name, title, section, page, start, text, date = row
    return number, Passage(identifier, name, title, section, page, start, start + len(text), text, date)
