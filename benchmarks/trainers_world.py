"""What both sides of ``trainers.py`` train on: a tokenizer of 163,840 entries, teacher, student and shards, on disk.

Real text tokenized by the nano chain's tokenizer, to which entries are added that no text uses: what a step costs does
not depend on which ids occur, but on how many there are.
"""

import json
from pathlib import Path

import numpy as np
import torch

from axk1.core.artifact import building, write_manifest
from axk1.data.sample_table import Origin, Piece, SampleTable
from axk1.data.shards import KIND, Shards, token_dtype
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer

VOCABULARY = 163_840
TOKENIZER = "tokenizer"
LOGIT_DEVIATION = 4.0
"""Of the teacher's logits: an entropy of about ln V - 8 = 4 nats."""
PROMPT = 32
"""Tokens of a prompt."""
CACHES = {
    "hidden": ["--kind", "hidden"],
    "topk": ["--kind", "topk", "--top-k", "16", "--tail-samples", "32"],
    "sampled": ["--kind", "sampled", "--draws", "50"],
}
"""Kinds of caches; ``hidden`` is the same mathematics as GKD's."""


def make_world(folder: Path, nano: Path, sizes) -> None:
    """Writes everything that the sides read.

    Args:
        folder: where to.
        nano: a finished quickstart, for its tokenizer and shards.
        sizes: how much is trained.
    """
    tokenizer = _tokenizer(folder / TOKENIZER, nano / "tokenizer")
    _model(folder / "teacher", "recipes/nano/teacher.json", tokenizer, is_teacher=True)
    _model(folder / "student", "recipes/nano/student.json", tokenizer, is_teacher=False)
    text = Shards.open(nano / "shards/text")
    ids = np.asarray(text.tokens[: sizes.rows * sizes.steps * sizes.length], np.int64)
    sequences = ids.reshape(-1, sizes.length)
    _shards(folder / "text", tokenizer, sequences, mask=None)
    prompts = np.asarray(text.tokens[len(ids) :][: 64 * (PROMPT + 1)], np.int64).reshape(-1, PROMPT + 1)
    _shards(folder / "prompts", tokenizer, prompts, mask=[False] * PROMPT + [True])


def _tokenizer(folder: Path, nano: Path) -> Tokenizer:
    """The nano tokenizer with entries that no merge reaches, up to the vocabulary's size."""
    small = Tokenizer.load(nano)
    content = json.loads(small.to_json())
    entries = content["model"]["vocab"]
    entries |= {f"<unused {index}>": index for index in range(small.vocab_size, VOCABULARY)}
    names = {index: token for token, index in small.special_tokens.items()}
    ends = {"bos_token": names[small.bos_id], "eos_token": names[small.eos_id]}
    large = Tokenizer(json.dumps(content, ensure_ascii=False), **ends, config={"pad_token": ends["eos_token"]})
    assert large.vocab_size == VOCABULARY, large.vocab_size
    with building(folder) as new:
        large.save(new)
        write_manifest(new, kind="tokenizer", counts={"vocab_size": VOCABULARY})
    return large


def _model(folder: Path, recipe: str, tokenizer: Tokenizer, *, is_teacher: bool) -> None:
    values = json.loads(Path(recipe).read_text(encoding="utf-8"))
    values |= {"vocab_size": VOCABULARY, "bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    with building(folder) as new:
        (new / "config.json").write_text(json.dumps(values), encoding="utf-8")
        torch.manual_seed(int(is_teacher))
        model = Transformer(ModelConfig.load(new))
        if is_teacher:
            with torch.no_grad():  # the final norm gives states whose entries have a mean square of one
                model.lm_head.weight.normal_(0, LOGIT_DEVIATION / model.config.hidden_size**0.5)
        save_model(model, new)
        tokenizer.save(new)
        ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
        (new / "generation_config.json").write_text(json.dumps(ids), encoding="utf-8")
        write_manifest(new, kind="checkpoint")


def _shards(folder: Path, tokenizer: Tokenizer, samples: np.ndarray, mask: list[bool] | None) -> None:
    with building(folder) as new, SampleTable(new, token_dtype(VOCABULARY), has_mask=mask is not None) as table:
        for number, ids in enumerate(samples):
            origin = Origin(**dict.fromkeys(Origin._fields, ""))._replace(document=str(number))
            table.append(origin, 0, Piece(ids.tolist(), mask), seed=0)
        counts = {**table.write(new, table.choose(None, {})), "vocab_size": VOCABULARY}
        write_manifest(new, kind=KIND, inputs={"tokenizer": tokenizer.content_hash}, counts=counts)
