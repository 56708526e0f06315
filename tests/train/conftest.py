"""A tiny project: a few documents and conversations, their tokenizer and shards, and a small mixture of experts."""

import gzip
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from axk1.core.artifact import building, write_manifest
from axk1.core.config import from_dict, to_dict
from axk1.data.document import Document, write_documents
from axk1.data.tokenize import ShardsConfig, build_shards
from axk1.model.config import ModelConfig
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.tokenizer.training import learn
from axk1.train.config import TrainConfig
from axk1.train.metrics import MetricsFile
from axk1.train.pretrain import PretrainConfig

MODEL = ModelConfig(
    vocab_size=320,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    n_routed_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    max_position_embeddings=64,
    num_nextn_predict_layers=1,
)


def _texts() -> list[str]:
    nouns = ["법률", "위원회", "예산", "the bill", "a committee", "the budget"]
    line = "제{}조 {}은(는) {}일에 {} 앞에 놓인다.\n"
    return [line.format(i, nouns[i % 6], i * 7, nouns[i * i % 6]) * (1 + i % 4) for i in range(120)]


def _documents(folder: Path) -> Path:
    with building(folder) as temporary:
        documents = [Document(f"d{i}", text, "bills", "CC0", "ko") for i, text in enumerate(_texts())]
        write_documents(temporary / "train.jsonl.gz", documents)
        write_manifest(temporary, kind="documents", licences={"bills": "CC0, nobody"})
    return folder


def _conversations(folder: Path) -> Path:
    with building(folder) as temporary, gzip.open(temporary / "train.jsonl.gz", "wt", encoding="utf-8") as file:
        for i in range(60):
            question, answer = f"{i} + {i + 1}?", str(2 * i + 1)
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            record = {"id": f"c{i}", "messages": messages, "mode": "no_think", "language": "en", "task": "sum"}
            file.write(json.dumps(record) + "\n")
        file.close()
        write_manifest(temporary, kind="conversations")
    return folder


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = learn(iter(_texts()), vocab_size=MODEL.vocab_size, reserved_tokens=7)
    with building(folder) as temporary:
        tokenizer.save(temporary)
        write_manifest(temporary, kind="tokenizer")
    return tokenizer


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.json``, ``tokenizer``, ``shards/text`` and ``shards/chat``."""
    root = tmp_path_factory.mktemp("project")
    _tokenizer(root / "tokenizer")
    (root / "model.json").write_text(json.dumps(MODEL.to_hf()))
    for name, folder in (("text", _documents(root / "documents")), ("chat", _conversations(root / "conversations"))):
        output = root / "shards" / name
        build_shards(ShardsConfig(output=output, tokenizer=root / "tokenizer", inputs=(folder,), max_length=64))
    return root


@pytest.fixture
def recipe(project: Path, tmp_path: Path) -> Callable[..., PretrainConfig]:
    """Makes a pre-training config on the tiny project; arguments replace its values."""

    def make(**changes: object) -> PretrainConfig:
        values = {
            "model": str(project / "model.json"),
            "shards": [{"folder": str(project / "shards" / "text")}],
            "tokenizer": str(project / "tokenizer"),
            "output": str(tmp_path / "out"),
            "sequence_length": 64,
            "rows": 8,
            "steps": 12,
            "log_steps": 1,
            "threads": 1,
            "device": "cpu",
            "precision": "fp32",
            "balance_loss_weight": 1e-2,
            "optim": {"name": "muon", "lr": 3e-3},
        }
        return from_dict(PretrainConfig, {**values, **changes})

    return make


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[[TrainConfig], Path]:
    """Writes a config as a TOML recipe; JSON's strings, numbers and arrays are TOML, too."""

    def write(config: TrainConfig) -> Path:
        values = {key: value for key, value in to_dict(config).items() if value is not None}
        shards, optim = values.pop("shards"), values.pop("optim")
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        for shard in shards:
            lines += ["[[shards]]", *(f"{key} = {json.dumps(value)}" for key, value in shard.items())]
        lines += ["[optim]", *(f"{key} = {json.dumps(value)}" for key, value in optim.items() if value is not None)]
        path = tmp_path / f"{config.output.name}.toml"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process send itself SIGTERM, once, as soon as a run has logged the given step."""

    def arrange(step: int) -> None:
        append = MetricsFile.append

        def append_and_stop(self: MetricsFile, line: dict[str, object]) -> None:
            append(self, line)
            if line["step"] == step:
                monkeypatch.setattr(MetricsFile, "append", append)
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(MetricsFile, "append", append_and_stop)

    return arrange
