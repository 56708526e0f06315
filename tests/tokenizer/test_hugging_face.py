"""transformers opens what we save and agrees; we open what others save."""

import json
from pathlib import Path

import pytest
import transformers
from conversations_strategy import PLAIN, messages, tools
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer

from axk1.core.errors import ArtifactError
from axk1.tokenizer import Tokenizer

QWEN_LIKE_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.strip() }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def peer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


@given(text=st.text(st.characters(codec="utf-8")) | st.sampled_from(["<think>가<|im_end|>", "API를 1234", "  \n\n x"]))
def test_same_ids(tokenizer: Tokenizer, peer: transformers.PreTrainedTokenizerBase, text: str) -> None:
    assert peer(text).input_ids == tokenizer.encode(text)
    assert peer.decode(tokenizer.encode(text)) == text


@given(turns=messages(), functions=tools(), think=st.booleans(), prompt=st.booleans())
def test_same_chat(
    tokenizer: Tokenizer,
    peer: transformers.PreTrainedTokenizerBase,
    turns: list,
    functions: list,
    think: bool,
    prompt: bool,
) -> None:
    options = {"tools": functions, "enable_thinking": think, "add_generation_prompt": prompt}
    assert peer.apply_chat_template(turns, tokenize=False, **options) == tokenizer.render_chat(turns, **options)


@given(turns=messages(PLAIN), think=st.booleans())
def test_same_targets(
    tokenizer: Tokenizer, peer: transformers.PreTrainedTokenizerBase, turns: list, think: bool
) -> None:
    theirs = peer.apply_chat_template(
        turns, enable_thinking=think, return_assistant_tokens_mask=True, return_dict=True, tokenize=True
    )
    ours = tokenizer.encode_chat(turns, enable_thinking=think)
    assert theirs["input_ids"] == ours.ids
    assert theirs["assistant_masks"] == [int(target) for target in ours.is_target]


def test_thinking_is_the_default(tokenizer: Tokenizer, peer: transformers.PreTrainedTokenizerBase) -> None:
    turns = [{"role": "user", "content": "안녕"}]
    assert peer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True).endswith("assistant\n<think>")


@pytest.mark.parametrize("model_type", ["axk1", "qwen3", "llama", "qwen2"])
def test_same_ids_beside_a_model(tokenizer: Tokenizer, tmp_path: Path, model_type: str) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    peer = AutoTokenizer.from_pretrained(tmp_path)
    # Beside a Qwen2 model, transformers forces its own class, whose one difference is a normaliser to NFC.
    decomposed = "" if model_type == "qwen2" else "e\u0301 각"
    text = f"국회 12조 API를 don't  \n\n<think>x</think> {decomposed}"
    assert peer(text).input_ids == tokenizer.encode(text)
    assert (peer.bos_token_id, peer.eos_token_id) == (tokenizer.bos_id, tokenizer.eos_id)


def test_what_was_loaded_is_saved_unchanged(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    loaded = Tokenizer.load(folder)
    loaded.save(tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert loaded.content_hash == tokenizer.content_hash == Tokenizer.load(tmp_path).content_hash
    assert loaded.stop_ids == tokenizer.stop_ids and loaded.special_tokens == tokenizer.special_tokens


def foreign(folder: Path, **config: object) -> None:
    """A folder as Qwen's: its own normaliser, special tokens and template."""
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(["hello world, this is text"] * 5, trainer)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    backend.add_tokens([AddedToken("<think>", normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}))


def test_qwen_folder(tmp_path: Path) -> None:
    foreign(tmp_path, bos_token=None, eos_token="<|im_end|>", chat_template=QWEN_LIKE_TEMPLATE)
    ours, peer = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    names = ours.special_tokens
    assert (ours.bos_id, ours.eos_id, ours.im_end_id) == (
        names["<|endoftext|>"],
        names["<|im_end|>"],
        names["<|im_end|>"],
    )
    turns = [{"role": "user", "content": " hello <think> "}]
    text = peer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert ours.render_chat(turns, add_generation_prompt=True) == text
    assert names["<think>"] in ours.encode(text) == peer(text).input_ids
    ids = ours.encode_chat(turns, add_generation_prompt=True).ids
    assert names["<think>"] not in ids and ours.decode(ids) == text


def test_padding_and_truncation_of_the_file_are_ignored(tmp_path: Path) -> None:
    foreign(tmp_path, eos_token="<|im_end|>")
    path = tmp_path / "tokenizer.json"
    backend = Backend.from_file(str(path))
    backend.enable_padding(length=20)
    backend.enable_truncation(4)
    backend.save(str(path))
    ours, text = Tokenizer.load(tmp_path), "hello world, this is text"
    assert ours.decode(ours.encode(text)) == text == ours.decode(ours.encode(text, special=False))


def test_llama_folder(tmp_path: Path) -> None:
    foreign(tmp_path, bos_token={"content": "<s>"}, eos_token={"content": "<|endoftext|>"})
    end = Backend.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|im_end|>")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 999_999]}))
    ours = Tokenizer.load(tmp_path)
    assert ours.bos_id == ours.special_tokens["<s>"]
    assert ours.stop_ids == sorted([ours.special_tokens["<|endoftext|>"], end])
    assert ours.chat_template is None


def test_roles_from_the_model_config(tmp_path: Path) -> None:
    foreign(tmp_path)
    ids = {
        name: Backend.from_file(str(tmp_path / "tokenizer.json")).token_to_id(name) for name in ("<s>", "<|im_end|>")
    }
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": ids["<s>"], "eos_token_id": ids["<|im_end|>"]}))
    ours = Tokenizer.load(tmp_path)
    assert (ours.bos_id, ours.eos_id) == (ids["<s>"], ids["<|im_end|>"])


def test_named_templates(tmp_path: Path) -> None:
    listed = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    foreign(tmp_path, eos_token="<|im_end|>", chat_template=listed)
    assert Tokenizer.load(tmp_path).chat_template == "plain"
    (tmp_path / "chat_template.jinja").write_text("own file")
    assert Tokenizer.load(tmp_path).chat_template == "own file"


def test_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json") as missing:
        Tokenizer.load(tmp_path / "nowhere")
    assert "axk1 tokenizer train" in str(missing.value)
    foreign(tmp_path)
    with pytest.raises(ArtifactError, match=r"no token .* is said to end a text"):
        Tokenizer.load(tmp_path)
    foreign(tmp_path, eos_token="<|im_end|>")
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(ArtifactError, match=r"tokenizer\.json.* is corrupt"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(text.replace('"type": "BPE"', '"type": "Unknown"'))
    with pytest.raises(ArtifactError, match=r"this is no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(text)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer_config.json.*is corrupt"):
        Tokenizer.load(tmp_path)
