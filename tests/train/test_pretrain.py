"""The stages from shards to a checkpoint folder, in this process."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from axk1.core.artifact import read_manifest, verify
from axk1.core.config import from_dict, to_dict
from axk1.core.errors import ArtifactError, CheckpointError, ConfigError, TokenizerMismatch, TrainingDiverged
from axk1.model.checkpoint import load_model
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.tokenizer.training import learn
from axk1.train.pretrain import pretrain
from axk1.train.sft import SftConfig, sft


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def test_it_makes_a_whole_checkpoint_that_has_learned(recipe):
    config = recipe(steps=30, log_steps=5)
    output = pretrain(config)
    manifest = verify(output, kind="checkpoint")
    assert manifest.counts["steps"] == 30
    assert manifest.counts["precision"] == "fp32"
    assert set(manifest.inputs) == {"model", "tokenizer", "shards[0]"}
    assert manifest.licences == {"bills": "CC0, nobody"}
    assert not output.with_name("out.state").exists()
    lines = metrics_of(output)
    assert [line["step"] for line in lines] == [1, 5, 10, 15, 20, 25, 30]
    assert lines[-1]["cross_entropy"] < lines[0]["cross_entropy"] - 1
    assert lines[-1]["tokens"] == manifest.counts["tokens"] <= 30 * 8 * 64
    assert all(line["tokens_per_second"] > 0 for line in lines)
    assert [len(layer) for layer in lines[0]["expert_load"]] == [8]
    assert sum(lines[0]["expert_load"][0]) == pytest.approx(1, abs=1e-5)
    assert lines[0]["lr"] < lines[1]["lr"] or lines[0]["lr"] == 3e-3


def test_the_checkpoint_opens_with_its_tokenizer_and_knows_where_to_stop(recipe):
    output = pretrain(recipe(steps=1))
    model, tokenizer = load_model(output), Tokenizer.load(output)
    logits = model(torch.tensor([tokenizer.encode("제1조 법률")]))
    assert logits.shape[-1] == 320
    generation = json.loads((output / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.stop_ids
    assert model.config.eos_token_id == tokenizer.eos_id
    assert (output / "chat_template.jinja").exists()


def test_a_finished_run_is_not_done_again_and_another_config_replaces_it(recipe):
    config = recipe(steps=2)
    output = pretrain(config)
    before = (output / "manifest.json").stat().st_mtime_ns
    pretrain(config)
    assert (output / "manifest.json").stat().st_mtime_ns == before
    pretrain(recipe(steps=3))
    assert read_manifest(output).counts["steps"] == 3


def test_a_dry_run_prints_the_plan_and_writes_nothing(recipe, capsys):
    config = recipe(micro_batches=2, total_tokens=5000, steps=None)
    pretrain(config, dry_run=True)
    plan = "".join(capsys.readouterr().err.split())  # lines break where the terminal ends
    for said in ("AXK1ForCausalLM", "8x64=512tokensin2parts", "muon", "fp32", "FLOP", str(config.output)):
        assert said in plan
    assert list(config.output.parent.iterdir()) == []


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parts_of_a_batch_give_the_update_of_the_whole(recipe, tmp_path, optimizer):
    optim = {"name": optimizer, "lr": 1e-4, "warmup_steps": 0}
    whole = pretrain(recipe(steps=3, output=str(tmp_path / "whole"), optim=optim))
    parts = pretrain(recipe(steps=3, output=str(tmp_path / "parts"), optim=optim, micro_batches=8))
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(parts)[name], value, rtol=0, atol=1e-6, msg=name)


def test_bf16_autocast_trains_and_keeps_fp32_weights(recipe):
    output = pretrain(recipe(steps=12, precision="bf16"))
    assert {value.dtype for value in weights_of(output).values()} == {torch.float32}
    lines = metrics_of(output)
    assert lines[-1]["cross_entropy"] < lines[0]["cross_entropy"] - 0.3
    assert read_manifest(output).counts["precision"] == "bf16"


def test_fine_tuning_starts_from_a_checkpoint_and_learns_the_answers_only(recipe, project, tmp_path):
    base = pretrain(recipe(steps=4))
    chat = {"model": str(base), "shards": [{"folder": str(project / "shards" / "chat")}]}
    values = {**to_dict(recipe(steps=6)), **chat, "output": str(tmp_path / "tuned")}
    config = from_dict(SftConfig, values)
    output = sft(config)
    assert read_manifest(output).inputs["model"] == read_manifest(base).content_hash
    assert read_manifest(output).kind == "checkpoint"
    with pytest.raises(ArtifactError, match="holds conversations"):
        sft(dataclasses.replace(config, shards=recipe().shards, output=tmp_path / "never"))
    assert not (tmp_path / "never").exists()


def test_a_diverged_run_says_at_which_step_and_keeps_the_last_good_state(recipe):
    config = recipe(optim={"lr": 1e20, "warmup_steps": 0}, checkpoint_steps=1, steps=20)
    with pytest.raises(TrainingDiverged, match=r"gradient of step \d+ is not finite .* state") as caught:
        pretrain(config)
    assert "lower optim.lr" in caught.value.repair
    assert not config.output.exists()


def test_what_does_not_fit_together_is_refused_and_nothing_is_written(recipe, project, tmp_path):
    other = tmp_path / "other-tokenizer"
    other.mkdir()
    learn(iter(["completely different text"]), vocab_size=300, reserved_tokens=7).save(other)
    small = {**json.loads((project / "model.json").read_text()), "vocab_size": 100}
    (tmp_path / "small.json").write_text(json.dumps(small))
    (tmp_path / "broken.json").write_text("{")
    shards = project / "shards" / "text"
    cut = tmp_path / "cut"
    cut.mkdir()
    for file in shards.iterdir():
        content = file.read_bytes()
        flipped = bytes([content[0] ^ 1]) + content[1:]
        (cut / file.name).write_bytes(flipped if file.name == "tokens.bin" else content)
    cases = [
        ({"tokenizer": str(other)}, TokenizerMismatch, "made with the tokenizer"),
        ({"model": str(tmp_path / "small.json")}, TokenizerMismatch, "vocab_size .* is 100"),
        ({"model": str(tmp_path / "broken.json")}, CheckpointError, "not a model config"),
        ({"model": str(tmp_path / "nowhere")}, CheckpointError, "does not exist"),
        ({"shards": [{"folder": str(tmp_path / "nowhere")}]}, ArtifactError, "does not exist"),
        ({"shards": [{"folder": str(cut)}]}, ArtifactError, "corrupt"),
        ({"sequence_length": 128}, ConfigError, "max_position_embeddings"),
    ]
    before = set(tmp_path.iterdir())
    for change, kind, said in cases:
        with pytest.raises(kind, match=said):
            pretrain(recipe(**change))
    assert set(tmp_path.iterdir()) == before
