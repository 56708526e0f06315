"""What a run is made from: tokenizer, shards and starting weights, opened and checked against each other."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from axk1.core.artifact import MANIFEST, content_hash, read_manifest, sha256_file, verify
from axk1.core.errors import ConfigError, TokenizerMismatch, UnknownNetwork
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.train.config import TrainConfig
from axk1.train.foreign import ForeignConfig, ForeignNetwork, load_foreign_network


@dataclass(frozen=True)
class Material:
    """The opened inputs of a training run."""

    tokenizer: Tokenizer
    """Its files go into the checkpoint."""
    shards: tuple[Shards, ...]
    """In the order of the config."""
    model_config: ModelConfig | ForeignConfig
    """The network to train."""
    inputs: Mapping[str, str]
    """Content hash of each input, by role, for the manifest."""
    licences: Mapping[str, str]
    """Licence and attribution of each source that the shards come from."""

    @property
    def tokens(self) -> int:
        """Tokens in all shards."""
        return sum(len(shards.tokens) for shards in self.shards)


def open_material(config: TrainConfig, *, extra_inputs: Mapping[str, str] | None = None) -> Material:
    """Opens and checks what the config names.

    Args:
        config: paths of the model, the shards and the tokenizer.
        extra_inputs: content hashes of inputs that only one stage has, by role.

    Raises:
        ArtifactError: an input is missing or corrupt; names the command that makes it.
        TokenizerMismatch: shards, tokenizer and model were not made for each other.
    """
    tokenizer = Tokenizer.load(config.tokenizer)
    shards = tuple(Shards.open(source.folder) for source in config.shards)
    model_config = _model_config(config.model, tokenizer)
    _check_tokenizer(config, tokenizer, shards)
    _check_vocabulary(config.model, model_config, tokenizer)
    longest = model_config.max_position_embeddings
    if longest is not None and config.sequence_length > longest:
        raise ConfigError(f"sequence_length = {config.sequence_length} is not allowed; allowed: up to {longest}, "
                          f"the max_position_embeddings of {str(config.model)!r}")  # fmt: skip
    inputs = {"model": _model_hash(config.model), "tokenizer": tokenizer.content_hash}
    inputs |= {f"shards[{i}]": opened.manifest.content_hash for i, opened in enumerate(shards)}
    licences = {name: text for opened in shards for name, text in opened.manifest.licences.items()}
    return Material(tokenizer, shards, model_config, {**inputs, **(extra_inputs or {})}, licences)


def verify_files(config: TrainConfig) -> None:
    """Hashes shards and starting checkpoint against their manifests. Raises ArtifactError where a file has changed."""
    for source in config.shards:
        verify(source.folder, kind="shards", made_by="axk1 data tokenize")
    if (config.model / MANIFEST).exists():
        verify(config.model, kind="checkpoint")


def build_model(config: TrainConfig, material: Material) -> Transformer | ForeignNetwork:
    """The network with its starting weights, in fp32 in main memory: drawn from the seed, or a checkpoint's."""
    if isinstance(material.model_config, ForeignConfig):
        return load_foreign_network(material.model_config, seed=config.seed)
    if config.model.is_dir():
        return load_model(config.model, dtype=torch.float32)
    torch.manual_seed(config.seed)
    return Transformer(material.model_config)


def _model_config(path: Path, tokenizer: Tokenizer) -> ModelConfig | ForeignConfig:
    """The network's config; one that starts from random weights takes the tokenizer's ids of begin and end."""
    try:
        config = ModelConfig.load(path)
    except UnknownNetwork:
        if not path.is_dir():
            raise
        return ForeignConfig.load(path)
    if path.is_dir():
        return config
    return dataclasses.replace(config, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id)


def _check_tokenizer(config: TrainConfig, tokenizer: Tokenizer, shards: tuple[Shards, ...]) -> None:
    require_same_tokenizer(shards, tokenizer_hash=tokenizer.content_hash)
    own = config.model / "tokenizer.json"
    if config.model.is_dir() and own.exists() and sha256_file(own) != tokenizer.content_hash:
        raise TokenizerMismatch(
            f"the model in {str(config.model)!r} has another tokenizer than {str(config.tokenizer)!r}",
            repair=f"set tokenizer = {str(config.model)!r} and tokenize the shards with it",
        )


def _check_vocabulary(path: Path, model: ModelConfig | ForeignConfig, tokenizer: Tokenizer) -> None:
    if model.vocab_size is not None and model.vocab_size < tokenizer.vocab_size:
        raise TokenizerMismatch(
            f"the tokenizer has {tokenizer.vocab_size} entries, but vocab_size of {str(path)!r} is {model.vocab_size}",
            repair=f"set vocab_size to {tokenizer.vocab_size} or more in {str(path)!r}",
        )


def _model_hash(path: Path) -> str:
    if path.is_file():
        return sha256_file(path)
    return read_manifest(path).content_hash if (path / MANIFEST).exists() else content_hash(path)
