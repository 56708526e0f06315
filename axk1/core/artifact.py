"""Artifacts: the folders that pass between stages, each with a ``manifest.json``.

A stage builds its output in a temporary sibling folder and renames it into place when it is whole, so a folder
that exists under its name is complete. The manifest says what made it (command, resolved config, package versions,
commit), from which inputs (by content hash), how much, and under which licences.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from axk1.core.config import brought_up_to_date, to_dict
from axk1.core.errors import ArtifactError

MANIFEST = "manifest.json"
_VERSIONED = ("axk1", "torch", "numpy", "tokenizers", "safetensors", "reasoning-gym")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an artifact is, what made it, and from what."""

    kind: str
    """What the folder holds: documents, conversations, tokenizer, shards, checkpoint, knowledge_cache or scores."""
    content_hash: str
    """SHA-256 over the names and contents of all files but the manifest and what lies in sub-folders."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The resolved configuration of the stage that made it."""
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Content hashes of the artifacts it was made from, by role (for example ``{"tokenizer": "sha256..."}``)."""
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How much: documents, tokens, bytes, seconds."""
    licences: dict[str, str] = dataclasses.field(default_factory=dict)
    """Licence and attribution of each source."""
    command: str = ""
    """The command line that made it."""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Versions of Python and of the packages that matter."""
    commit: str = ""
    """The commit of this project, with ``+`` when the work tree had changes; empty outside a checkout."""
    created: str = ""
    """When, in UTC."""


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(folder: Path) -> str:
    """SHA-256 over names and contents of the folder's own files, the manifest left out."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def write_text_atomic(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old content or the new, never half (write, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # one name, so that what a killed run left is written over
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends without an error, and vanishes when it fails.

    Call ``write_manifest`` on it last. What stood at ``path`` before is replaced only then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)  # left over from a killed run
    temporary.mkdir()
    try:
        yield temporary
        publish(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(temporary: Path, path: Path) -> None:
    """Makes the folder ``temporary`` appear as ``path``: fsync of all files, then renames."""
    for file in temporary.rglob("*"):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    if path.exists():
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(temporary, path)


def write_manifest(
    folder: Path,
    *,
    kind: str,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    counts: Mapping[str, Any] | None = None,
    licences: Mapping[str, str] | None = None,
) -> Manifest:
    """Hashes the folder's files and writes its manifest; the last step of building an artifact."""
    manifest = Manifest(
        kind=kind,
        content_hash=content_hash(folder),
        config=dict(config or {}),
        inputs=dict(inputs or {}),
        counts=dict(counts or {}),
        licences=dict(licences or {}),
        command=" ".join(["axk1", *sys.argv[1:]]),
        versions=_versions(),
        commit=_commit(),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    text = json.dumps(dataclasses.asdict(manifest), ensure_ascii=False, indent=2)
    write_text_atomic(folder / MANIFEST, text + "\n")
    return manifest


def read_manifest(folder: str | Path, *, kind: str | None = None, made_by: str | None = None) -> Manifest:
    """Reads an artifact's manifest without hashing its files again.

    Args:
        folder: the artifact.
        kind: the kind that the caller needs; another kind is an error.
        made_by: the command that makes such an artifact, named in the error when it is missing.

    Raises:
        ArtifactError: the folder or its manifest is missing, unreadable, or of another kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{kind or 'artifact'} folder {str(folder)!r} does not exist", repair=made_by)
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**values)
    except FileNotFoundError:
        raise ArtifactError(f"{str(folder)!r} has no {MANIFEST}, so it is no artifact", repair=made_by) from None
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{str(folder / MANIFEST)!r} is corrupt: {error}", repair=made_by) from None
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(f"{str(folder)!r} holds {manifest.kind}, but {kind} is needed here", repair=made_by)
    return manifest


def verify(folder: str | Path, *, kind: str | None = None, made_by: str | None = None) -> Manifest:
    """Reads the manifest and hashes the files against it. Raises ArtifactError when they differ."""
    folder = Path(folder)
    manifest = read_manifest(folder, kind=kind, made_by=made_by)
    if content_hash(folder) != manifest.content_hash:
        raise ArtifactError(f"{str(folder)!r} is corrupt: its files do not match its {MANIFEST}", repair=made_by)
    return manifest


def is_current(folder: Path, *, kind: str, config: Any, inputs: Mapping[str, str]) -> bool:
    """Whether the artifact exists and was made from this config and these inputs, so that the stage can be skipped.

    Args:
        folder: where it would be.
        kind: what it would be.
        config: a config dataclass, or plain values. Of a dataclass, fields that the artifact's maker did not know yet
            count as having been at their defaults.
        inputs: content hashes by name.

    Raises:
        ArtifactError: something else lies there, which the stage would replace: files without a manifest, or an
            artifact of another kind.
    """
    _refuse_foreign(folder, kind)
    try:
        manifest = read_manifest(folder, kind=kind)
    except ArtifactError:
        return False
    stored, wanted = brought_up_to_date(manifest.config, config), to_dict(config)
    return json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True) and manifest.inputs == dict(inputs)


def _refuse_foreign(folder: Path, kind: str) -> None:
    """Lets nothing be replaced that is not an older artifact of this kind."""
    found = None
    if folder.is_dir() and not (folder / MANIFEST).exists():
        found = "files that no command of ours made" if any(folder.iterdir()) else None
    elif folder.is_dir():
        with contextlib.suppress(ArtifactError):  # a corrupt manifest is ours, and made anew
            manifest = read_manifest(folder)
            found = manifest.kind if manifest.kind != kind else None
    elif folder.exists():
        found = "no folder but a file"
    if found:
        what = f"output {str(folder)!r} holds {found}; {kind} would replace it, so nothing was done"
        raise ArtifactError(what, repair=f"name another --output, or: mv {folder} {folder}.old")


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        run = {"capture_output": True, "text": True, "timeout": 10, "check": True}
        commit = subprocess.run([*git, "rev-parse", "HEAD"], **run).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], **run).stdout.strip()
        return commit + ("+" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return ""
