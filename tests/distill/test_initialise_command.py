"""``axk1 distill init`` and ``measure``: what they write, refuse and print; others open it and training goes on."""

import dataclasses
import json

import pytest
import torch
import transformers
from distill_world import cache_config, random_samples, save_teacher, write_shards
from initialise_world import LLAMA, MIXTURE, QWEN3, teacher_of

from axk1.core.artifact import read_manifest, verify
from axk1.core.errors import ConfigError, TokenizerMismatch
from axk1.data.shards import Shards
from axk1.distill.capture import build_cache
from axk1.distill.initialise.config import InitConfig, StudentSize
from axk1.distill.initialise.distance import distance
from axk1.distill.initialise.init_student import init_student
from axk1.distill.initialise.measure_student import MeasureConfig, measure_student
from axk1.distill.initialise.target import student_config
from axk1.distill.initialise.text import choose_text
from axk1.distill.student import DistillConfig, train_student
from axk1.engine.llm import LLM
from axk1.model.checkpoint import load_model
from axk1.model.inspect import inspect_model
from axk1.train.config import ShardSource

STUDENTS = {
    "random": ("random", {"hidden_size": 16, "n_routed_experts": 0}, {}),
    "depth": ("depth", {"num_hidden_layers": 2}, {}),
    "width": ("width", {"hidden_size": 16, "num_attention_heads": 2, "moe_intermediate_size": 4}, {}),
    "dense": ("moe_to_dense", {}, {}),
    "qwen3": ("moe_to_dense", {"num_key_value_heads": 2}, {"architecture": "Qwen3ForCausalLM"}),
    "llama": ("moe_to_dense", {"head_dim": 16}, {"architecture": "LlamaForCausalLM"}),
    "experts": ("fewer_experts", {"n_routed_experts": 3}, {}),
}


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    folder = tmp_path_factory.mktemp("school")
    samples = random_samples(60)
    write_shards(folder / "shards", samples, masks=[sample % 2 for sample in samples])
    save_teacher(folder / "teacher", teacher_of(MIXTURE))
    (folder / "teacher" / "generation_config.json").write_text('{"eos_token_id": [47, 3]}')
    return folder


def recipe(folder, output, method, size=None, **changes):
    fields = {"teacher": folder / "teacher", "shards": (ShardSource(folder / "shards"),), "output": output}
    fields |= {"calibration_tokens": 300, "measured_tokens": 200, "batch_tokens": 64, "threads": 1, "device": "cpu"}
    return InitConfig(**fields, method=method, size=StudentSize(**(size or {})), **changes)


@pytest.mark.parametrize("name", STUDENTS)
def test_transformers_opens_the_student_and_says_the_same(school, tmp_path, name):
    method, size, changes = STUDENTS[name]
    config = recipe(school, tmp_path / name, method, size, **changes)
    init_student(config)
    verify(config.output, kind="checkpoint")
    ids = torch.arange(30).view(2, 15)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(config.output, dtype=torch.float32).eval()
    own = load_model(config.output)
    assert theirs.config.architectures == [own.config.architecture]
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, own(ids), atol=1e-5, rtol=1e-5)
    counts = read_manifest(config.output).counts
    assert counts["student"]["parameters"] == sum(p.numel() for p in own.parameters())
    assert counts["teacher"]["parameters"] == inspect_model(MIXTURE).total
    assert counts["teacher"]["kl_to_teacher"] == pytest.approx(0, abs=1e-6)
    assert json.loads((config.output / "generation_config.json").read_text()) == {"eos_token_id": [47, 3]}


def test_the_engine_writes_with_a_dense_student_with_latent_attention(school, tmp_path):
    folder = init_student(recipe(school, tmp_path / "dense", "moe_to_dense"))
    prompt = [5, 9, 2]
    (written,) = LLM.load(folder).generate([prompt], max_tokens=8)
    model, ids = load_model(folder), prompt
    for token in written.token_ids:
        assert token == int(model(torch.tensor([ids]))[0, -1].argmax())
        ids = [*ids, token]


def test_training_goes_on_from_the_folder(school, tmp_path):
    """The first step's loss is that of the student as it was made, far below that of its twin by chance."""
    build_cache(cache_config(school, output=tmp_path / "knowledge"))
    losses = {}
    for method in ("fewer_experts", "random"):
        student = init_student(recipe(school, tmp_path / method, method, {"n_routed_experts": 5}))
        config = DistillConfig(
            model=student, shards=(ShardSource(school / "shards"),), cache=tmp_path / "knowledge", steps=2,
            tokenizer=school / "tokenizer", output=tmp_path / f"{method}-trained", sequence_length=64, rows=4,
            threads=1, device="cpu", precision="fp32", log_steps=1,
        )  # fmt: skip
        line = (train_student(config) / "metrics.jsonl").read_text().splitlines()[0]
        losses[method] = json.loads(line)["kl_to_teacher"]
        assert read_manifest(config.output).inputs["model"] == read_manifest(student).content_hash
    assert losses["fewer_experts"] < 0.5 * losses["random"]


def test_a_second_run_has_nothing_to_do_and_a_dry_run_writes_nothing(school, tmp_path, capsys):
    config = recipe(school, tmp_path / "student", "depth", {"num_hidden_layers": 2})
    init_student(config, dry_run=True)
    assert not config.output.exists() and "parameters" in capsys.readouterr().err
    created = read_manifest(init_student(config)).created, (config.output / "model.safetensors").stat().st_mtime_ns
    init_student(config)
    assert created == (read_manifest(config.output).created, (config.output / "model.safetensors").stat().st_mtime_ns)
    assert "up to date" in capsys.readouterr().err


def test_the_same_recipe_gives_the_same_file(school, tmp_path):
    first, again = (
        init_student(recipe(school, tmp_path / str(n), "moe_to_dense", architecture="Qwen3ForCausalLM"))
        for n in range(2)
    )
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_distance_is_that_of_a_plain_softmax(school):
    """KL at every position that a token follows; cross-entropy at those whose next token is taught."""
    shards = Shards.open(school / "shards")
    sizes = {"calibration_tokens": 300, "measured_tokens": 200}
    calibration, measured = choose_text([shards], [1.0], longest=32, **sizes)
    assert not {one.ids_T.tobytes() for one in calibration} & {one.ids_T.tobytes() for one in measured}
    more = choose_text([shards], [1.0], longest=32, calibration_tokens=600, measured_tokens=200)[1]
    assert [one.ids_T.tolist() for one in more] == [one.ids_T.tolist() for one in measured]
    teacher, student = teacher_of(MIXTURE), teacher_of(QWEN3, seed=1)
    kl, losses = [], []
    for sample in measured:
        assert (sample.taught_T == (sample.ids_T % 2 == 1)).all() and len(sample.ids_T) <= 32
        ids = torch.from_numpy(sample.ids_T).unsqueeze(0)
        with torch.no_grad():
            log_p, log_q = (model(ids)[0, :-1].double().log_softmax(-1) for model in (teacher, student))
        kl += (log_p.exp() * (log_p - log_q)).sum(-1).tolist()
        taught = torch.from_numpy(sample.taught_T[1:])
        losses += (-log_q.gather(1, ids[0, 1:, None])[:, 0])[taught].tolist()
    found = distance(teacher, student, measured, 50)
    assert found.kl_to_teacher == pytest.approx(sum(kl) / len(kl), rel=1e-4)
    assert found.cross_entropy == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert found.positions == len(kl)


def test_measure_says_what_init_wrote_down(school, tmp_path):
    folder = init_student(recipe(school, tmp_path / "student", "depth", {"num_hidden_layers": 2}))
    config = MeasureConfig(
        student=folder, teacher=school / "teacher", shards=(school / "shards",), measured_tokens=200, threads=1,
        device="cpu",
    )  # fmt: skip
    found = measure_student(config)
    noted = read_manifest(folder).counts["student"]
    assert dataclasses.asdict(found) == pytest.approx({name: noted[name] for name in dataclasses.asdict(found)})


REFUSED = [
    (MIXTURE, "depth", {"num_hidden_layers": 4}, {}, "size.num_hidden_layers = 4 .* up to 3"),
    (MIXTURE, "depth", {"hidden_size": 8}, {}, "size.hidden_size = 8 .* 24, the teacher's"),
    (MIXTURE, "width", {"num_attention_heads": 5}, {}, "size.num_attention_heads = 5 .* up to 4"),
    (MIXTURE, "fewer_experts", {"n_routed_experts": 1}, {}, "num_experts_per_tok = 2 .* 1 to 1"),
    (MIXTURE, "fewer_experts", {"n_routed_experts": 0}, {}, "size.n_routed_experts = 0 .* up to 6"),
    (MIXTURE, "moe_to_dense", {"n_routed_experts": 2}, {}, "size.n_routed_experts = 2 .* 0"),
    (MIXTURE, "moe_to_dense", {"head_dim": 10}, {"architecture": "LlamaForCausalLM"}, "size.head_dim = 10 .* 8 or"),
    (QWEN3, "moe_to_dense", {}, {}, "method = 'moe_to_dense' .* no experts"),
    (QWEN3, "width", {"num_attention_heads": 3}, {}, "size.num_attention_heads = 3 .* a multiple of 2"),
    (QWEN3, "width", {"num_attention_heads": 4, "num_key_value_heads": 1}, {}, "size.num_attention_heads = 4 .* to 2"),
    (LLAMA, "random", {}, {"architecture": "Qwen3ForCausalLM"}, "architecture = .* 'same', since it is Llama"),
]


@pytest.mark.parametrize(("teacher", "method", "size", "changes", "message"), REFUSED)
def test_what_a_method_cannot_make_is_refused_with_what_is_allowed(tmp_path, teacher, method, size, changes, message):
    with pytest.raises(ConfigError, match=message):
        student_config(teacher, recipe(tmp_path, tmp_path / "out", method, size, **changes))


def test_experts_in_groups_stay_in_groups(tmp_path):
    grouped = dataclasses.replace(MIXTURE, n_group=3, topk_group=2)
    with pytest.raises(ConfigError, match=r"size.n_routed_experts = 4 .* a multiple of the teacher's n_group \(3\)"):
        student_config(grouped, recipe(tmp_path, tmp_path / "out", "fewer_experts", {"n_routed_experts": 4}))


def test_a_scaled_rope_is_not_fitted(tmp_path):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    scaled = dataclasses.replace(MIXTURE, rope_parameters=rope)
    llama = {"architecture": "LlamaForCausalLM"}
    with pytest.raises(ConfigError, match=r"scaled rope.*\n.*attention = 'random'"):
        student_config(scaled, recipe(tmp_path, tmp_path / "out", "moe_to_dense", **llama))
    student_config(scaled, recipe(tmp_path, tmp_path / "out", "moe_to_dense", attention="random", **llama))


def test_another_architecture_is_for_dense_students():
    with pytest.raises(ConfigError, match=r"architecture = 'LlamaForCausalLM' .* 'same' with method = 'depth'"):
        recipe_of_nothing = {"teacher": "t", "shards": (ShardSource("s"),), "output": "o", "method": "depth"}
        InitConfig(**recipe_of_nothing, architecture="LlamaForCausalLM")


def test_too_little_text_and_another_tokenizer_are_refused(school, tmp_path):
    with pytest.raises(ConfigError, match="tokens, fewer than are to be read"):
        init_student(dataclasses.replace(recipe(school, tmp_path / "x", "depth"), calibration_tokens=10**6))
    save_teacher(tmp_path / "teacher", teacher_of(MIXTURE))
    (tmp_path / "teacher" / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerMismatch):
        init_student(dataclasses.replace(recipe(school, tmp_path / "x", "depth"), teacher=tmp_path / "teacher"))
