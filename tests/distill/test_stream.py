"""A teacher that is streamed from disk says what the same teacher in memory says."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from distill_world import VOCABULARY, cache_config, random_samples, save_teacher, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.core.artifact import building, write_manifest
from axk1.core.errors import ArtifactError, CheckpointError, ConfigError
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.hidden import HiddenRecords
from axk1.distill.kinds import arrays_of
from axk1.distill.records import Distributions, TokenRanks, TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.scoring import rows_of_states, states_of_samples, uniform_of_samples
from axk1.distill.stream.plan import StreamPlan, options_of
from axk1.distill.stream.scorer import StreamScorer
from axk1.distill.stream.vocabulary import OnlineTop
from axk1.distill.teachers import OwnTeacher
from axk1.distill.topk import draws_of_states, top_k_of_states
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

ROOT = Path(__file__).parents[2]
SIZES = {
    "vocab_size": VOCABULARY + 16, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
SPARSE = {
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 64, "n_group": 4, "topk_group": 2,
}  # fmt: skip
NETWORKS = {
    "axk1": ModelConfig(**SIZES, **SPARSE),
    "axk1 dense": ModelConfig(**SIZES, **{**SPARSE, "n_routed_experts": 0}),
    "axk1 with mtp": ModelConfig(**SIZES, **SPARSE, num_nextn_predict_layers=1),
    "qwen3": ModelConfig(architecture="Qwen3ForCausalLM", num_key_value_heads=2, head_dim=8, **SIZES),
    "qwen2, tied": ModelConfig(
        architecture="Qwen2ForCausalLM", num_key_value_heads=2, tie_word_embeddings=True, **SIZES
    ),
    "llama": ModelConfig(
        architecture="LlamaForCausalLM", num_key_value_heads=2, attention_bias=True, mlp_bias=True, **SIZES
    ),
}
TIGHT = "700KB"
"""So little that experts come a few at a time and tokens in several passes."""


def make_world(folder, network, samples=60):
    torch.manual_seed(0)
    model = Transformer(network).eval()
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if "bias" in name:
                parameter.normal_(std=0.1)
    save_teacher(folder / "teacher", model)
    write_shards(folder / "shards", random_samples(samples, seed=1))
    return folder


@pytest.fixture(scope="module")
def sparse_world(tmp_path_factory):
    """A sparse teacher, shards, and the caches of each kind that the teacher makes in memory."""
    folder = make_world(tmp_path_factory.mktemp("sparse"), NETWORKS["axk1"])
    for kind in ("topk", "sampled", "hidden"):
        build_cache(cache_config(folder, output=folder / kind, kind=kind))
    return folder


def scorer_of(folder, samples, records, tmp_path, memory, precision="fp32"):
    lengths = np.array([len(sample) - 1 for sample in samples])
    options = options_of(memory, None, batch_tokens=64, pass_tokens=None, hardware="h200-nvme")
    plan = StreamPlan(
        folder / "teacher",
        records,
        lengths,
        tmp_path,
        options,
        chunk=64,
        device=torch.device("cpu"),
        precision=precision,
    )
    return StreamScorer(plan, tmp_path / "pass", teacher_hash="x", temperature=1.0)


def assert_same(one, other):
    first, second = KnowledgeCache.open(one), KnowledgeCache.open(other)
    second.verify()
    assert np.array_equal(first.keys, second.keys)
    found, again = (arrays_of(cache.lookup(cache.keys).rows) for cache in (first, second))
    for name, values in found.items():
        # The order of a sum may be another one: that can round a stored number, or move a draw, to its neighbour.
        assert (values == again[name]).mean() > 0.99, name
        if values.dtype == np.uint16:
            values, other_values = (torch.from_numpy(x).view(torch.bfloat16).float() for x in (values, again[name]))
            torch.testing.assert_close(values, other_values, atol=1e-5, rtol=2**-7)
        elif values.dtype.kind == "f":
            np.testing.assert_allclose(values, again[name], atol=0.04, err_msg=name)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("memory", ["little", "1GiB"])
def test_every_architecture_gives_the_states_and_log_probabilities_of_the_model_in_memory(tmp_path, name, memory):
    folder = make_world(tmp_path, NETWORKS[name], samples=12)
    samples = [sample for sample in random_samples(12, seed=5) if len(sample) > 1]
    keys = np.arange(16 * len(samples), dtype=np.uint8).reshape(-1, 16)
    enough = memory == "1GiB"
    budget = memory if enough else "350KB" if NETWORKS[name].latent_attention else "230KB"
    scorer = scorer_of(folder, samples, HiddenRecords(32, VOCABULARY), tmp_path, budget)
    assert scorer.plan.room.whole_layers == enough
    if NETWORKS[name].is_sparse:
        assert (scorer.plan.room.experts < 8) != enough
    teacher = OwnTeacher(folder / "teacher", vocab_size=VOCABULARY, device=torch.device("cpu"), precision="fp32")
    streamed = dict(scorer.score(samples, keys))
    for batch, states_RH in states_of_samples(teacher, samples, 64):
        rounded = np.concatenate([streamed[number].states_RH for number in batch])
        assert np.array_equal(rounded, states_RH.to(torch.bfloat16).view(torch.uint16).numpy()) or np.allclose(
            torch.from_numpy(rounded).view(torch.bfloat16).float(), states_RH, atol=2**-7, rtol=2**-7
        )
    # The states themselves lie in the file of the pass; after the final norm they are what the model says.
    log_probs = log_probs_of_pass(scorer, teacher, len(samples), keys)
    for batch, states_RH in states_of_samples(teacher, samples, 64):
        expected = torch.log_softmax(states_RH @ teacher.weight_VH.T, -1)
        assert (torch.cat([log_probs[number] for number in batch]) - expected).abs().max() < 1e-5


def test_where_tokens_crowd_at_some_experts_fewer_go_by_at_once(tmp_path):
    make_world(tmp_path, NETWORKS["axk1"], samples=12)
    samples = [sample for sample in random_samples(12, seed=5) if len(sample) > 1]
    keys = np.arange(16 * len(samples), dtype=np.uint8).reshape(-1, 16)
    found = []
    for crowded in (False, True):
        scorer = scorer_of(tmp_path, samples, HiddenRecords(32, VOCABULARY), tmp_path / str(crowded), "350KB")
        if crowded:
            scorer._layers.assignments = 1
        rows = dict(scorer.score(samples, keys))
        found.append(np.concatenate([rows[number].states_RH for number in sorted(rows)]))
    values = [torch.from_numpy(states).view(torch.bfloat16).float() for states in found]
    torch.testing.assert_close(*values, atol=2**-7, rtol=2**-7)


def test_fp8_in_many_shards_and_products_in_bf16(tmp_path):
    """Block scales and several files, as large checkpoints have them; in bf16 the two differ by its rounding alone."""
    torch.manual_seed(0)
    with building(tmp_path / "teacher") as folder:
        save_model(Transformer(NETWORKS["axk1"]), folder, shard_bytes=16_000, fp8_block=(16, 16))
        write_manifest(folder, kind="checkpoint")
    assert len(list((tmp_path / "teacher").glob("*.safetensors"))) > 2
    samples = [sample for sample in random_samples(12, seed=5) if len(sample) > 1]
    keys = np.arange(16 * len(samples), dtype=np.uint8).reshape(-1, 16)
    errors, said = {}, {}
    for precision in ("fp32", "bf16"):
        for memory in ("350KB", "1GiB"):
            records = HiddenRecords(32, VOCABULARY)
            scorer = scorer_of(tmp_path, samples, records, tmp_path / precision / memory, memory, precision)
            teacher = OwnTeacher(
                tmp_path / "teacher", vocab_size=VOCABULARY, device=torch.device("cpu"), precision=precision
            )
            list(scorer.score(samples, keys))
            said[precision] = log_probs = log_probs_of_pass(scorer, teacher, len(samples), keys)
            for batch, states_RH in states_of_samples(teacher, samples, 64):
                expected = torch.log_softmax(states_RH.float() @ teacher.weight_VH.T, -1)
                error = (torch.cat([log_probs[number] for number in batch]) - expected).abs()
                errors.setdefault(precision, []).append(error.flatten())
    assert torch.cat(errors["fp32"]).max() < 1e-5
    assert torch.cat(errors["bf16"]).mean() < 0.01
    assert (torch.cat(said["bf16"]) - torch.cat(said["fp32"])).abs().mean() > 0.01, "bf16 is another arithmetic"


def log_probs_of_pass(scorer, teacher, count, keys):
    """Log-probabilities of the whole vocabulary from the file of states."""
    states = scorer.open_pass(keys)
    buffer = torch.empty(states.rows, 32)
    with torch.no_grad():
        normed = teacher._model.norm(states.before.read(slice(0, states.rows), buffer))
    log_probs_NV = torch.log_softmax(normed @ teacher.weight_VH.T, -1)
    states.close()
    return [log_probs_NV[states.ends[i] - states.lengths[i] : states.ends[i]] for i in range(count)]


@pytest.mark.parametrize("kind", ["topk", "sampled", "hidden"])
@pytest.mark.parametrize("memory", [TIGHT, "1GiB"])
def test_a_streamed_teacher_makes_the_same_cache(sparse_world, tmp_path, kind, memory, capfd):
    build_cache(cache_config(sparse_world, output=tmp_path / "new", kind=kind, stream=True, memory=memory))
    assert_same(sparse_world / kind, tmp_path / "new")
    told = " ".join(capfd.readouterr().err.split())
    assert "limited by" in told and "predicted and measured" in told
    if kind == "topk":
        assert ("1 passes" in told) == (memory != TIGHT)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    if kind == "hidden":
        matrices = [KnowledgeCache.open(folder).output_matrix() for folder in (sparse_world / kind, tmp_path / "new")]
        assert torch.equal(*matrices)


def test_a_matrix_larger_than_the_budget_comes_in_blocks(tmp_path):
    """The same rows from blocks of the output matrix as from the whole of it."""
    network = ModelConfig(**{**SIZES, "vocab_size": 6000, "num_hidden_layers": 1}, **SPARSE)
    folder = make_world(tmp_path, network)
    samples = [sample for sample in random_samples(30, seed=5) if len(sample) > 1]
    keys = np.random.default_rng(0).integers(0, 256, (len(samples), 16), dtype=np.uint8)
    teacher = OwnTeacher(folder / "teacher", vocab_size=6000, device=torch.device("cpu"), precision="fp32")
    ranks = Ranked(6000)
    for records in (ranks.top_k(5, 7), ranks.sampled(9)):
        scorer = scorer_of(folder, samples, records, tmp_path / records.kind, "1MB")
        assert not scorer.plan.room.whole_matrix and len(scorer.plan.matrix) > 3
        streamed = dict(scorer.score(samples, keys))
        for batch, states_RH in states_of_samples(teacher, samples, 64):
            lengths = [len(samples[number]) - 1 for number in batch]
            uniform = torch.from_numpy(uniform_of_samples(records, keys[batch], lengths))
            expected = rows_of_states(records, states_RH, teacher.weight_VH, uniform, 1.0)
            rows = [streamed[number] for number in batch]
            for name, values in vars(expected).items():
                found = np.concatenate([getattr(row, name) for row in rows])
                if name == "tail_ids_RS" or (not isinstance(expected, Distributions) and "entropy" not in name):
                    assert (found == values).mean() > 0.99, "a draw is another one only where rounding decides"
                else:
                    np.testing.assert_allclose(found, values, atol=1e-5, err_msg=name)


class Ranked:
    """Records over a vocabulary whose tokens are ranked as they are numbered."""

    def __init__(self, vocabulary):
        self.vocabulary, self.ranks = vocabulary, TokenRanks(np.arange(vocabulary))

    def top_k(self, k, drawn):
        return TopKRecords(k, drawn, self.vocabulary, self.ranks, 28)

    def sampled(self, draws):
        return SampledRecords(draws, self.vocabulary, self.ranks)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(9, 60), st.floats(0.1, 30))
def test_the_online_top_equals_that_of_whole_rows(seed, k, columns, scale):
    generator = torch.Generator().manual_seed(seed)
    logits_NV = torch.randn(7, columns, generator=generator) * scale
    uniform_NS = 1 - torch.rand(7, 5, generator=generator)
    expected = top_k_of_states(logits_NV, None, k, uniform_NS)
    drawn, entropy = draws_of_states(logits_NV, None, uniform_NS)
    online, whole = OnlineTop(k, uniform_NS, torch.device("cpu")), OnlineTop(0, uniform_NS, torch.device("cpu"))
    for top in (online, whole):
        for see in (top.see, top.draw):
            for first in range(0, columns, 8):
                see(slice(0, 7), logits_NV[:, first : first + 8].clone(), first)
    found = online.top(slice(0, 7))
    assert torch.equal(found.ids_NK, expected.ids_NK)
    torch.testing.assert_close(found.log_probs_NK, expected.log_probs_NK, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.log_tail_N, expected.log_tail_N, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropy_N, expected.entropy_N, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole.top(slice(0, 7)).entropy_N, entropy, atol=1e-4, rtol=1e-4)
    assert (found.tail_ids_NS == expected.tail_ids_NS).float().mean() >= 0.9
    assert (whole.top(slice(0, 7)).tail_ids_NS == drawn).float().mean() >= 0.9
    assert not (found.tail_ids_NS.unsqueeze(2) == found.ids_NK.unsqueeze(1)).any(), "the tail excludes the top"


KILLED = """
import dataclasses, os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from distill_world import cache_config
from axk1.distill import capture
from axk1.distill.stream import layers, plan, states

world, output, kills = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
if sys.argv[5] == "in parts":
    fit = plan.plan_room
    plan.plan_room = lambda *a, **b: dataclasses.replace(fit(*a, **b), whole_layers=False, experts=3)
first = []  # the layer that each run begins with
original_apply, original_write = layers.Layers.apply, os.pwritev

def run(last):
    count = 0
    def apply(self, held, layer, stream, times):
        if not first:
            first.append(layer)
            print("layer", layer, flush=True)
        yield from original_apply(self, held, layer, stream, times)
    def write(*arguments):
        nonlocal count
        count += 1
        if count == last:
            os.pwritev = original_write
            number, (room,), place = arguments
            original_write(number, [room[: len(room) // 2]], place)  # half of what it was to write
            os.kill(os.getpid(), signal.SIGKILL)
        return original_write(*arguments)
    layers.Layers.apply, os.pwritev = apply, write
    capture.build_cache(cache_config(world, output=output, stream=True, memory="1GiB", hardware="h200-nvme"))

random.seed(1)
for kill in range(kills + 1):
    last = random.randint(1, 60) if kill < kills else -1
    child = os.fork()
    if child == 0:
        run(last)
        os._exit(0)
    print("ended", os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("layers", ["whole", "in parts"])
def test_killed_within_any_layer_it_goes_on_from_that_layer(sparse_world, tmp_path, layers):
    command = [sys.executable, "-c", KILLED, os.path.dirname(__file__), sparse_world, tmp_path / "killed", "4", layers]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    ended = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("ended")]
    begun = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("layer")]
    assert len(ended) == 5 and ended[-1] == 0, done.stderr[-3000:]
    assert ended.count(signal.SIGKILL) >= 2
    assert begun == sorted(begun) and begun[-1] > 0, "no run began before the layer at which the one before it stood"
    assert_same(sparse_world / "topk", tmp_path / "killed")
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]


def test_states_that_the_disk_lost_are_made_again(sparse_world, tmp_path):
    samples = [sample for sample in random_samples(20, seed=5) if len(sample) > 1]
    keys = np.random.default_rng(0).integers(0, 256, (len(samples), 16), dtype=np.uint8)
    records = HiddenRecords(32, VOCABULARY)
    straight = dict(scorer_of(sparse_world, samples, records, tmp_path / "straight", "1GiB").score(samples, keys))
    again = scorer_of(sparse_world, samples, records, tmp_path / "lost", "1GiB")
    list(again.score(samples, keys))
    held = again.open_pass(keys)
    assert held.layers == 3
    with open(held.before.path, "r+b") as file:
        file.seek(600)
        file.write(b"\0" * 64)
    held.close()
    found = dict(scorer_of(sparse_world, samples, records, tmp_path / "lost", "1GiB").score(samples, keys))
    assert all(np.array_equal(found[number].states_RH, straight[number].states_RH) for number in straight)


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from distill_world import cache_config
from axk1.core.errors import ArtifactError
from axk1.distill.capture import build_cache
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    build_cache(cache_config(Path(sys.argv[2]), output=Path(sys.argv[3]), stream=True, memory="1GiB"))
except ArtifactError as error:
    print(error)
"""


def test_a_disk_that_is_too_small_stops_it_before_the_work(sparse_world, tmp_path):
    command = [sys.executable, "-c", FULL, os.path.dirname(__file__), sparse_world, tmp_path / "full", "50000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "the states of a pass takes 399.00 KiB" in done.stdout and "repair" in done.stdout, done.stderr[-2000:]
    assert not (tmp_path / "full").exists()
    build_cache(cache_config(sparse_world, output=tmp_path / "full", stream=True))
    assert_same(sparse_world / "topk", tmp_path / "full")


def test_a_corrupt_or_missing_shard_is_found_before_work_starts(tmp_path):
    folder = make_world(tmp_path, NETWORKS["axk1"], samples=5)
    file = folder / "teacher" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        build_cache(cache_config(folder, output=tmp_path / "new", stream=True))
    file.unlink()
    build_cache(cache_config(folder, output=tmp_path / "new", stream=True), dry_run=True)
    with pytest.raises(CheckpointError, match="holds no weights"):
        build_cache(cache_config(folder, output=tmp_path / "new", stream=True))
    assert not (tmp_path / "new").exists() and not (tmp_path / "new.state" / "pass-0").exists()


def test_too_little_memory_names_the_part_that_needs_most(sparse_world, tmp_path):
    with pytest.raises(
        ConfigError, match=r"memory = 97.66 KiB is too little: .* attention of layer 0 .* allowed: \d+ bytes"
    ):
        build_cache(cache_config(sparse_world, output=tmp_path / "new", stream=True, memory="100kB"))
    with pytest.raises(ConfigError, match="hardware = 'h900'"):
        build_cache(cache_config(sparse_world, output=tmp_path / "new", stream=True, hardware="h900"))
    with pytest.raises(ArtifactError):
        build_cache(cache_config(sparse_world, teacher=tmp_path / "none", stream=True))


PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from distill_world import cache_config
from axk1.distill.capture import build_cache
build_cache(cache_config(Path(sys.argv[2]), output=Path(sys.argv[3]), stream=True, memory="700KB"))
"""


def test_two_processes_write_one_cache(sparse_world, tmp_path):
    (tmp_path / "run.py").write_text(PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [tmp_path / "run.py", os.path.dirname(__file__), sparse_world, tmp_path / "both"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "both" / "chunks").iterdir())) > 2, "there is something to share"
    assert_same(sparse_world / "topk", tmp_path / "both")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "run.py"]


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from distill_world import VOCABULARY, cache_config, random_samples, save_teacher, write_shards
from test_stream import SPARSE, make_world
from axk1.distill import capture
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
folder, small = Path(sys.argv[2]), Path(sys.argv[3])
build = lambda world, memory: capture.build_cache(
    cache_config(world, output=folder / memory, stream=True, memory=memory, batch_tokens=4096, hardware="h200-nvme"))
build(small, "700KB")  # what is loaded only when it is needed
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
build(folder, "60MB")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024)
"""


def test_the_memory_that_it_takes_is_within_the_budget(sparse_world, tmp_path):
    """A checkpoint of twice the budget, and states of several times that."""
    sizes = {**SIZES, "hidden_size": 512, "num_attention_heads": 8}
    experts = {**SPARSE, "n_routed_experts": 32, "moe_intermediate_size": 384}
    make_world(tmp_path, ModelConfig(**sizes, **experts), samples=1)
    shutil.rmtree(tmp_path / "shards")
    write_shards(tmp_path / "shards", random_samples(400, longest=60))
    weights = (tmp_path / "teacher" / "model.safetensors").stat().st_size
    assert weights > 150e6
    command = [sys.executable, "-c", MEMORY, os.path.dirname(__file__), tmp_path, sparse_world]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) < 60e6
