"""``TensorFiles`` against the safetensors library: same tensors, and every fault found before a number is read."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from test_bad_checkpoints import CONFIG, saved

from axk1.core.errors import CheckpointError
from axk1.model.checkpoint import load_model, save_model
from axk1.model.stored import DTYPES
from axk1.model.tensor_files import WEIGHTS, WEIGHTS_INDEX, TensorFiles
from axk1.model.transformer import Transformer

QUICK = settings(deadline=None, derandomize=True, max_examples=40)
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(DTYPES)), SHAPES),
    min_size=1,
    max_size=8,
)


def drawn(kinds: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (kind, shape) in kinds.items():
        dtype = DTYPES[kind]
        count = torch.Size(shape).numel() * dtype.itemsize
        values = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), generator=generator, dtype=torch.uint8)
        tensors[name] = values.view(dtype).view(shape)
    return tensors


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], names: list[str]) -> None:
    """Spreads tensors over files in turn; the index lists them in the order of their names."""
    index = {}
    for number, file in enumerate(names):
        part = dict(list(tensors.items())[number :: len(names)])
        save_file(part, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / WEIGHTS_INDEX).write_text(json.dumps({"weight_map": index}, sort_keys=True))


@QUICK
@given(kinds=TENSORS)
def test_tensors_of_every_dtype_are_those_that_the_library_reads(kinds):
    # fp8 weights are held against their scales, which this test has none of
    kinds = {name: kind for name, kind in kinds.items() if kind[0] != "F8_E4M3"}
    with tempfile.TemporaryDirectory() as name:
        save_file(drawn(kinds), Path(name, WEIGHTS))
        files = TensorFiles(name)
        with safe_open(Path(name, WEIGHTS), framework="pt") as reference:
            assert set(files) == set(files.weights) == set(reference.keys())
            for key, stored in files.items():
                expected = reference.get_tensor(key)
                read = files.read(key)
                assert (read.dtype, read.shape) == (expected.dtype, expected.shape)
                assert bits(read) == bits(expected)
                assert bits(files.read(key, torch.empty_like(expected))) == bits(expected)
                raw = Path(stored.file).read_bytes()[stored.offset : stored.offset + stored.nbytes]
                assert raw == bits(expected)


@QUICK
@given(kinds=TENSORS, order=st.permutations(["a.safetensors", "z.safetensors", "m.safetensors"]))
def test_shards_in_any_order(kinds, order):
    tensors = {key: value for key, value in drawn(kinds).items() if value.dtype != torch.float8_e4m3fn}
    with tempfile.TemporaryDirectory() as name:
        write_shards(Path(name), tensors, order[: max(1, min(3, len(tensors)))])
        files = TensorFiles(name)
        assert {key: bits(files.read(key)) for key in files} == {key: bits(value) for key, value in tensors.items()}


@pytest.fixture
def shards(tmp_path):
    """A folder of several files: the second one's name comes along."""
    saved(tmp_path, shard_bytes=1000)
    return tmp_path, sorted(tmp_path.glob("model-*.safetensors"))[1]


def refused(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        TensorFiles(folder)
    assert "\n" not in caught.value.message
    assert caught.value.repair
    return caught.value


@pytest.mark.parametrize("bytes_", [-1, 1, -200])
def test_a_shard_of_another_length_is_named_before_anything_is_read(shards, bytes_):
    folder, shard = shards
    data = shard.read_bytes()
    shard.write_bytes(data[:bytes_] if bytes_ < 0 else data + b"\0" * bytes_)
    message = refused(folder).message
    assert shard.name in message
    assert ("truncated" if bytes_ < 0 else "longer") in message
    assert f"{len(data):,}" in message


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_a_garbled_header_is_refused_as_the_library_refuses_it(data):
    """What safetensors refuses, we refuse; what both accept is the same."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, WEIGHTS)
        values = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
        save_file(values, file)
        raw = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 40))] = data.draw(st.integers(0, 255))
        file.write_bytes(raw)
        try:
            with safe_open(file, framework="pt") as reference:
                expected = {key: reference.get_tensor(key) for key in reference.keys()}  # noqa: SIM118
        except Exception:
            expected = None
        try:
            files = TensorFiles(name)
        except CheckpointError:
            return
        assert expected is not None
        assert {key: bits(files.read(key)) for key in files} == {key: bits(value) for key, value in expected.items()}


def test_a_tensor_that_the_index_places_elsewhere(shards):
    folder, shard = shards
    path = folder / WEIGHTS_INDEX
    index = json.loads(path.read_text())
    name = next(key for key, file in index["weight_map"].items() if file == shard.name)
    other = next(file for file in index["weight_map"].values() if file != shard.name)
    for changed in (index["weight_map"] | {name: other}, {k: v for k, v in index["weight_map"].items() if k != name}):
        path.write_text(json.dumps({"weight_map": changed}))
        assert name in refused(folder).message


def test_a_file_that_shrinks_while_it_is_used(tmp_path):
    saved(tmp_path)
    files = TensorFiles(tmp_path)
    file = tmp_path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-8])
    last = max(files, key=lambda name: files[name].offset)
    with pytest.raises(CheckpointError, match="shorter"):
        files.read(last)
    file.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.read(last)


def test_other_ways_of_quantising_are_named(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for form in ({"quant_method": "awq"}, {"quant_method": "fp8"}, {"quant_method": "fp8", "weight_block_size": [128]}):
        (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": form}))
        with pytest.raises(CheckpointError, match="allowed"):
            load_model(tmp_path)


def test_opening_reads_headers_alone(tmp_path):
    """A sparse file of 30 GB opens at once, and its last tensor is there."""
    rows = 15_000_000_000 // 4096
    header = {"a": {"dtype": "BF16", "shape": [rows, 4096], "data_offsets": [0, rows * 8192]}}
    header["b"] = {"dtype": "F32", "shape": [2], "data_offsets": [rows * 8192, rows * 8192 + 8]}
    text = json.dumps(header).encode()
    with open(tmp_path / WEIGHTS, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(rows * 8192, 1)
        file.write(torch.tensor([1.5, -2.0]).numpy().tobytes())
    files = TensorFiles(tmp_path)
    assert files["a"].nbytes == rows * 8192
    assert files.read("b").tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_in_memory_are_those_in_the_files_in_any_dtype(tmp_path, dtype):
    model = saved(tmp_path, shard_bytes=1000)
    loaded = load_model(tmp_path, dtype=dtype)
    for key, tensor in model.state_dict().items():
        kept = tensor if key.endswith("e_score_correction_bias") else tensor.to(dtype)
        assert torch.equal(loaded.state_dict()[key], kept), key


def test_float16_is_read_as_any_other(tmp_path):
    torch.manual_seed(0)
    model = Transformer(CONFIG).half()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.norm.weight.dtype == torch.float16
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
