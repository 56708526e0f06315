"""A small world with two tokenizers: byte-level BPEs of a little text, and shards of the same texts in both."""

import gzip
import json

import numpy as np
import tokenizers

from axk1.core.artifact import building, write_manifest
from axk1.data.tokenize import ShardsConfig, build_shards
from axk1.tokenizer.tokenizer import Tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TRAINING = [
    "국회는 법률안을 심의하고 의결한다. 제안 이유와 주요 내용은 다음과 같다. 대통령령으로 정하는 바에 따라",
    "def main(argument):\n    return sum(value for value in argument if value > 0)\n",
    "The teacher reads the text and says what it expects; the student reads the same text in other tokens.",
    "👩‍👩‍👧 👍🏽 é é ñ 각 각 1234567890",
] * 3


def train_tokenizer(folder, size, *, texts=TRAINING, special=SPECIAL, end="<|endoftext|>"):
    """A byte-level BPE of ``size`` entries, without normaliser."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": end, "bos_token": end}))
    return Tokenizer.load(folder)


def write_documents(folder, texts):
    """A documents artifact with these texts."""
    with building(folder) as new:
        for name, part in (("train", texts), ("heldout", [])):
            with gzip.open(new / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
                for number, text in enumerate(part):
                    entry = {"id": f"d{number}", "text": text, "source": "s", "licence": "CC0", "language": "ko"}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        write_manifest(new, kind="documents", counts={}, licences={"s": "CC0"})
    return folder


def write_shards_of(folder, tokenizer, documents, **options):
    """Shards of a documents artifact, by the command's own code."""
    return build_shards(ShardsConfig(output=folder, tokenizer=tokenizer, inputs=(documents,), **options))


def token_bytes(tokenizer, text):
    """Ids of a text and the bytes of each."""
    ids = tokenizer.encode(text, special=False)
    return np.array(ids, np.int64), [tokenizer.token_bytes(index) for index in ids]
