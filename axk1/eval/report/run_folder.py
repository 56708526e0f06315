"""Reads a run folder: the artifacts of each stage, once or once a seed, and which of them are missing and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axk1.core.artifact import Manifest, read_manifest
from axk1.core.errors import ArtifactError, AXK1Error
from axk1.eval.report.metrics import Metrics, read_metrics
from axk1.model.inspect import ModelSummary, inspect_model

ROLES = ("base", "teacher", "student", "control")
SHARED = {
    "documents": ("documents", "axk1 data build"),
    "conversations": ("conversations", "axk1 data conversations"),
    "tokenizer": ("tokenizer", "axk1 tokenizer train"),
    "shards/text": ("shards", "axk1 data tokenize"),
    "shards/chat": ("shards", "axk1 data tokenize"),
}
"""What all seeds share: its kind and the command that makes it."""
_MADE_BY = {
    "base": "axk1 pretrain",
    "teacher": "axk1 sft",
    "student": "axk1 distill train",
    "control": "axk1 distill train",
}
_SEED = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class Missing:
    """A part that the run folder lacks."""

    name: str
    """Its path within the run folder."""
    why: str
    """What is wrong with it, in one sentence."""


@dataclass(frozen=True)
class TrainedModel:
    """One training stage of one seed."""

    role: str
    folder: Path
    manifest: Manifest | None
    metrics: Metrics
    size: ModelSummary | None
    """Parameters and costs, from its config.json."""


@dataclass(frozen=True)
class Seed:
    """What one seed made."""

    name: str
    """``seed-1`` and so on; empty for the one that lies in the run folder itself."""
    folder: Path
    models: Mapping[str, TrainedModel]
    """By role: base (the teacher before fine-tuning), teacher, student, control."""
    knowledge: Manifest | None
    """The teacher's cached distributions."""


@dataclass(frozen=True)
class RunFolder:
    """A run, as far as it got."""

    path: Path
    shared: Mapping[str, Manifest]
    """Manifests of what all seeds share, by path within the folder."""
    seeds: Sequence[Seed]
    missing: Sequence[Missing]

    def logs(self) -> dict[str, list[Metrics]]:
        """The training logs that hold at least one step, by role, one a seed."""
        return {
            role: [s.models[role].metrics for s in self.seeds if role in s.models and len(s.models[role].metrics)]
            for role in ROLES
        }

    def manifests(self) -> list[tuple[str, Manifest]]:
        """(path within the folder, manifest) of all artifacts, in the order of the stages."""
        found = list(self.shared.items())
        for seed in self.seeds:
            prefix = f"{seed.name}/" if seed.name else ""
            stages = {role: model.manifest for role, model in seed.models.items()}
            order = ("base", "teacher", "knowledge", "student", "control")
            stages["knowledge"] = seed.knowledge
            found += [(prefix + stage, manifest) for stage in order if (manifest := stages.get(stage)) is not None]
        return found


def read_run(path: Path) -> RunFolder:
    """Reads what is there. Raises ArtifactError when the folder does not exist or holds nothing of a run."""
    if not path.is_dir():
        raise ArtifactError(f"run folder {str(path)!r} does not exist", repair="make quickstart")
    missing: list[Missing] = []
    shared = {}
    for name, (kind, made_by) in SHARED.items():
        manifest = _manifest(path, name, kind, made_by, missing)
        if manifest is not None:
            shared[name] = manifest
    folders = sorted((p for p in path.iterdir() if p.is_dir() and _SEED.fullmatch(p.name)), key=_seed_number)
    if not folders or any((path / role).exists() for role in (*ROLES, "scores")):
        folders = [path, *folders]  # the first seed lies in the run folder itself
    seeds = [_read_seed(path, folder, missing) for folder in folders]
    if (
        not shared
        and not any(seed.models or seed.knowledge for seed in seeds)
        and not any(path.glob("**/results.json"))
    ):
        raise ArtifactError(f"{str(path)!r} holds no artifact of a run", repair="make quickstart")
    return RunFolder(path, shared, seeds, missing)


def _seed_number(folder: Path) -> int:
    found = _SEED.fullmatch(folder.name)
    return int(found[1]) if found else 0


def _read_seed(run: Path, folder: Path, missing: list[Missing]) -> Seed:
    models = {}
    for role in ROLES:
        model = _read_model(run, folder, role, missing)
        if model is not None:
            models[role] = model
    prefix = "" if folder == run else f"{folder.name}/"
    knowledge = _manifest(run, f"{prefix}knowledge", "knowledge_cache", "axk1 distill cache", missing)
    return Seed(prefix.rstrip("/"), folder, models, knowledge)


def _read_model(run: Path, folder: Path, role: str, missing: list[Missing]) -> TrainedModel | None:
    """A model and its log; None when there is neither."""
    name = str((folder / role).relative_to(run))
    manifest = _manifest(run, name, "checkpoint", _MADE_BY[role], missing)
    log = folder / role / "metrics.jsonl"
    unfinished = folder / f"{role}.state" / "metrics.jsonl"  # beside the checkpoint while the run goes on
    metrics = read_metrics(log if log.exists() or not unfinished.exists() else unfinished)
    if manifest is None and not len(metrics):
        return None
    if not len(metrics):
        missing.append(Missing(f"{name}/metrics.jsonl", "it is missing or holds no step, so this stage has no curves"))
    if metrics.unreadable:
        why = f"{metrics.unreadable} unreadable line(s) were left out (a run that was killed can leave half a line)"
        missing.append(Missing(f"{name}/metrics.jsonl", why))
    return TrainedModel(role, folder / role, manifest, metrics, _size(folder / role, name, manifest, missing))


def _size(folder: Path, name: str, manifest: Manifest | None, missing: list[Missing]) -> ModelSummary | None:
    if manifest is None:
        return None
    try:
        return inspect_model(folder)
    except AXK1Error as error:
        missing.append(Missing(name, error.message))
        return None


def _manifest(run: Path, name: str, kind: str, made_by: str, missing: list[Missing]) -> Manifest | None:
    try:
        return read_manifest(run / name, kind=kind, made_by=made_by)
    except ArtifactError as error:
        missing.append(Missing(name, f"{error.message} (made by: {made_by})"))
        return None
