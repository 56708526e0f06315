"""``axk1 export quantize``: a checkpoint -> a folder with weights of 16, 8 or 4 bits, held against the original.

The folder opens faster than a checkpoint that is rounded while it is opened, and takes a half to a seventh of its room.
``fp8`` writes the form in which checkpoints of DeepSeek-V3's kind are published (see ``model/block_scales.py``).
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import CheckpointError, SourceError
from axk1.core.progress import console, human, print_next, print_plan
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.engine.kernel.packing import WeightKind
from axk1.engine.llm import LLM
from axk1.engine.quantised.applying import quantise, weight_bytes
from axk1.engine.quantised.folder import is_quantised, save_quantised
from axk1.model.block_scales import BLOCK
from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import TensorFiles
from axk1.tokenizer.tokenizer import Tokenizer

_PIECE = 4000
"""Characters of a text that are scored in one context."""
_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@dataclass(frozen=True)
class QuantizeConfig:
    """Which checkpoint to round to which format, and what it is held against."""

    path: Path
    """The checkpoint folder."""
    output: Path
    """Folder to write."""
    weights: WeightKind | Literal["fp8"] = "int8"
    """Number format of the matrices: for our engine bf16 (16 bits a weight), int8 (8.5) or int4 (4.5; embedding and
    output matrix int8); for other programs, too, fp8 (8 bits and a scale for 128 x 128 weights; embedding and output
    matrix as they are)."""
    text: Path | None = None
    """A text file, or a folder of text shards, on which perplexity is measured before and after; nothing measures
    none."""
    text_characters: int = 40_000
    """Most characters of the text that are read."""

    def __post_init__(self) -> None:
        require(self.text_characters > 0, "text_characters", self.text_characters, "a positive number")
        require(self.path.resolve() != self.output.resolve(), "output", str(self.output), "another folder than path")


def export_quantize(config: QuantizeConfig, *, dry_run: bool = False) -> Path:
    """Rounds a checkpoint's weights and writes them as a folder that the engine, or for fp8 others too, opens.

    Returns:
        The output folder; its manifest counts bytes before and after, and perplexity where a text was given.

    Raises:
        CheckpointError: the checkpoint is missing or corrupt, or quantised already.
        SourceError: the text is missing or empty.
    """
    network = ModelConfig.load(config.path)
    if is_quantised(network):
        raise CheckpointError(f"{str(config.path)!r} is quantised already", repair="name the checkpoint it was made of")
    texts = _texts(config)
    settings, inputs = to_dict(config), {"checkpoint": artifact.content_hash(config.path)}
    measured = f"{sum(map(len, texts)):,} characters of {config.text}" if texts else "nothing: give --text FILE"
    rows = {
        "checkpoint": f"{config.path}, {network.architecture}, {network.num_hidden_layers} layers",
        "weights": config.weights,
        "measured on": measured,
        "output": config.output,
    }
    print_plan("export quantize", rows)
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind="quantised checkpoint", config=settings, inputs=inputs):
        print_plan("up to date", {"output": config.output})
    else:
        with artifact.building(config.output) as folder:
            counts = _write(config, folder, texts)
            artifact.write_manifest(
                folder, kind="quantised checkpoint", config=settings, inputs=inputs, counts=counts,
                licences=_licences(config.path),
            )  # fmt: skip
        _print_counts(counts)
    print_next(f"axk1 serve {config.output}")
    return config.output


def _write(config: QuantizeConfig, folder: Path, texts: list[str]) -> dict[str, Any]:
    model = load_model(config.path)
    counts: dict[str, Any] = {"bytes_before": weight_bytes(model)}
    tokenizer = Tokenizer.load(config.path)
    if texts:
        counts["perplexity_before"] = _perplexity(LLM(model, tokenizer), texts)
    if config.weights == "fp8":
        save_model(model, folder, fp8_block=BLOCK)
        counts["bytes_after"] = sum(stored.nbytes for stored in TensorFiles(folder).values())
        model = load_model(folder)
    else:
        quantise(model, config.weights)
        counts["bytes_after"] = weight_bytes(model)
        save_quantised(model, folder)
    if texts:
        counts["perplexity_after"] = _perplexity(LLM(model, tokenizer), texts)
    for name in _COPIED:
        if (config.path / name).exists():
            shutil.copyfile(config.path / name, folder / name)
    return counts


def _perplexity(llm: LLM, texts: list[str]) -> float:
    scores = llm.score(texts)
    return math.exp(-sum(score.log_likelihood for score in scores) / sum(score.tokens for score in scores))


def _texts(config: QuantizeConfig) -> list[str]:
    """Pieces of the text, at most ``text_characters`` together."""
    if config.text is None:
        return []
    if not config.text.exists():
        raise SourceError(f"text {str(config.text)!r} does not exist", repair="name a text file or a shards folder")
    if config.text.is_dir():
        shards, tokenizer = Shards.open(config.text), Tokenizer.load(config.path)
        require_same_tokenizer([shards], tokenizer_hash=tokenizer.content_hash)
        pieces, left = [], config.text_characters
        for index in range(len(shards)):
            pieces.append(tokenizer.decode(shards.sample(index).tolist())[:left])
            left -= len(pieces[-1])
            if left <= 0:
                break
    else:
        text = config.text.read_text(encoding="utf-8", errors="replace")[: config.text_characters]
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    if not any(pieces):
        raise SourceError(f"text {str(config.text)!r} is empty")
    return pieces


def _licences(path: Path) -> dict[str, str]:
    has_manifest = (path / artifact.MANIFEST).exists()
    return artifact.read_manifest(path).licences if has_manifest else {}


def _print_counts(counts: dict[str, Any]) -> None:
    before, after = counts["bytes_before"], counts["bytes_after"]
    console.print(f"weights: {human(before)}B -> {human(after)}B, {before / after:.2f} times smaller")
    if "perplexity_after" in counts:
        first, second = counts["perplexity_before"], counts["perplexity_after"]
        console.print(f"perplexity: {first:.3f} -> {second:.3f}, {second / first - 1:+.2%}")
