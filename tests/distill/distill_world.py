"""Parts of a small world for distillation: a tokenizer, shards, and a teacher whose distributions are known."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import tokenizers
import torch

from axk1.core.artifact import building, sha256_file, write_manifest
from axk1.data.shards import SCHEMA, sample_key
from axk1.distill.config import CacheConfig
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.config import ShardSource

VOCABULARY = 48


def write_tokenizer(folder):
    """A tokenizer of words w0 to w46 and an end-of-text token."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<|endoftext|>": VOCABULARY - 1}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


def write_shards(folder, samples, masks=None):
    """A shards artifact with these samples (arrays of ids below VOCABULARY), made with the tokenizer beside it."""
    lengths = np.array([len(sample) for sample in samples])
    rows = {name: [""] * len(samples) for name in ("document", "source", "licence", "language")}
    rows |= {"offset": np.cumsum(lengths) - lengths, "length": lengths, "key": [sample_key(s) for s in samples]}
    counts = {"vocab_size": VOCABULARY, "tokens": int(lengths.sum()), "samples": len(samples)}
    with building(folder) as building_folder:
        np.concatenate(samples).astype("<u2").tofile(building_folder / "tokens.bin")
        if masks is not None:
            np.concatenate(masks).astype("u1").tofile(building_folder / "loss_mask.bin")
        pyarrow.parquet.write_table(pyarrow.table(rows, schema=SCHEMA), building_folder / "samples.parquet")
        inputs = {"tokenizer": sha256_file(write_tokenizer(folder.parent / "tokenizer") / "tokenizer.json")}
        counts["has_loss_mask"] = masks is not None
        write_manifest(building_folder, kind="shards", inputs=inputs, counts=counts, licences={"test": "CC0"})
    return folder


def random_samples(n, seed=0, longest=40):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCABULARY, generator.integers(1, longest)) for _ in range(n)]


def bigram_table(seed=0, vocabulary=VOCABULARY):
    """Log-probabilities of the next token given the current one: [current, next]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(3 * torch.randn(vocabulary, vocabulary, generator=generator, dtype=torch.float64), -1)


def save_bigram_teacher(folder, table, vocab_size=VOCABULARY):
    """A checkpoint that predicts by the table."""
    return save_teacher(folder, bigram_model(table, vocab_size))


def bigram_model(table, vocab_size=VOCABULARY, positions=64):
    """A network that predicts by the table [current, next] and looks at nothing but the current token.

    Attention and MLP add nothing; the embedding is the identity, which the final norm scales by sqrt(H).
    """
    config = ModelConfig(
        architecture="Qwen3ForCausalLM", vocab_size=vocab_size, hidden_size=vocab_size, num_hidden_layers=1,
        num_attention_heads=2, head_dim=8, intermediate_size=8, max_position_embeddings=positions,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(config)
    with torch.no_grad():
        for block in model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.embed_tokens.weight.copy_(torch.eye(vocab_size))
        model.lm_head.weight.zero_()
        rows, columns = table.T.shape
        model.lm_head.weight[:rows, :columns] = table.T.float() / vocab_size**0.5
    return model


def save_teacher(folder, model, save_tokenizer=write_tokenizer):
    """A checkpoint with its tokenizer."""
    with building(folder) as building_folder:
        save_model(model, building_folder)
        save_tokenizer(building_folder)
        write_manifest(building_folder, kind="checkpoint")
    return folder


def cache_config(folder, **changes):
    fields = {"teacher": folder / "teacher", "shards": (ShardSource(folder / "shards"),), "top_k": 6, "threads": 1}
    fields["tail_samples"] = 4
    return CacheConfig(
        **{**fields, "output": folder / "knowledge", "batch_tokens": 128, "precision": "fp32", **changes}
    )
