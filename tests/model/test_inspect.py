"""``inspect`` against A.X K1's published figures."""

import json
from pathlib import Path

import pytest

from axk1.core.errors import AXK1Error
from axk1.model.config import ModelConfig
from axk1.model.inspect import InspectConfig, ModelSummary, Part, inspect_command, inspect_model

REPOSITORY = Path(__file__).parents[2]
FULL_SIZE = REPOSITORY / "recipes/axk1-519b/config.json"


def part(summary: ModelSummary, name: str) -> Part:
    return next(p for p in summary.parts if p.name == name)


def test_the_full_size_recipe_has_the_published_sizes():
    summary = inspect_model(FULL_SIZE)
    assert round(summary.total / 1e9, 2) == 518.98
    assert round(summary.active / 1e9, 2) == 32.78
    assert round(summary.active_without_embedding / 1e9, 2) == 31.60
    assert round(summary.attention_per_layer / 1e6, 2) == 101.12
    assert round(summary.expert / 1e6, 2) == 44.04
    assert round(part(summary, "embedding").total / 1e9, 4) == round(part(summary, "head").total / 1e9, 4) == 1.1744
    assert summary.cache_per_token == 70_272
    assert round(inspect_model(FULL_SIZE, context=131_072).cache / 1e9, 1) == 9.2
    assert round(summary.memory["bf16"] / 1e9) == 1038
    assert round(summary.memory["fp8"] / 1e9) == round(summary.memory["int8"] / 1e9) == 519
    weights_only = summary.flops_training * (1 - summary.flops_attention_share)
    assert round(weights_only / 1e9) == 190


def test_one_prediction_module_would_add_8_71_billion():
    values = json.loads(FULL_SIZE.read_text()) | {"num_nextn_predict_layers": 1}
    with_module, without = inspect_model(ModelConfig.from_hf(values)), inspect_model(FULL_SIZE)
    added = with_module.total - without.total
    assert added == part(with_module, "mtp").total
    assert round(added / 1e9, 2) == 8.71
    assert with_module.active == without.active


def test_table_and_json_say_the_same(capsys):
    inspect_command(InspectConfig(FULL_SIZE))
    table = capsys.readouterr().out
    for figure in ("518.98 B", "32.78 B", "31.60 B", "101.12 M", "44.04 M", "70,272 bytes", "1,037.97 GB"):
        assert figure in table
    inspect_command(InspectConfig(FULL_SIZE, json=True))
    values = json.loads(capsys.readouterr().out)
    assert values["total"] == 518_983_052_288
    assert values["cache_per_token"] == 70_272
    assert {p["name"] for p in values["parts"]} >= {"embedding", "attention", "routed experts", "head"}


def test_a_recipe_stands_for_the_model_that_it_names(tmp_path):
    recipe = tmp_path / "run.toml"
    recipe.write_text(f'model = "{FULL_SIZE}"\noutput = "out"\n')
    assert inspect_model(recipe) == inspect_model(FULL_SIZE) == inspect_model(FULL_SIZE.parent)


@pytest.mark.parametrize("text", ['output = "out"\n', "model = 3\n", 'model = "nowhere.json"\n', "model =\n"])
def test_a_recipe_without_a_model_is_an_error_that_says_so(tmp_path, text):
    recipe = tmp_path / "run.toml"
    recipe.write_text(text)
    with pytest.raises(AXK1Error, match=r"run\.toml|nowhere\.json"):
        inspect_model(recipe)


def test_context_must_be_positive():
    with pytest.raises(AXK1Error, match="context"):
        InspectConfig(FULL_SIZE, context=0)
