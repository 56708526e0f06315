import pytest

from axk1.core.config import from_dict, load_toml, to_dict
from axk1.core.errors import ConfigError
from axk1.train.config import OptimizerConfig, TrainConfig
from axk1.train.pretrain import PretrainConfig

RECIPE = {
    "model": "model.json",
    "shards": [{"folder": "a"}, {"folder": "b", "weight": 0.25}],
    "tokenizer": "tokenizer",
    "output": "out",
    "total_tokens": 1_000_000,
}


def test_steps_round_up_to_whole_batches():
    config = from_dict(TrainConfig, {**RECIPE, "rows": 8, "sequence_length": 256})
    assert (config.tokens_per_step, config.total_steps) == (2048, 489)
    assert from_dict(TrainConfig, {**RECIPE, "total_tokens": 4096, "rows": 8}).total_steps == 2


def test_a_config_survives_its_plain_form():
    config = from_dict(PretrainConfig, {**RECIPE, "optim": {"name": "muon", "betas": [0.9, 0.99]}})
    assert from_dict(PretrainConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 3}, "exactly one of steps and total_tokens"),
        ({"total_tokens": None}, "exactly one of steps and total_tokens"),
        ({"total_tokens": 0}, "total_tokens = 0"),
        ({"rows": 8, "micro_batches": 3}, "a divisor of rows"),
        ({"shards": []}, "at least one folder"),
        ({"shards": [{"folder": "a", "weight": 0}]}, "weight = 0.0"),
        ({"optim": {"lr": -1.0}}, "lr = -1.0"),
        ({"optim": {"name": "mion"}}, "did you mean 'muon'"),
        ({"optim": {"warmup": 3}}, "unknown key 'warmup', did you mean 'warmup_steps'"),
        ({"precision": "fp16"}, "precision = 'fp16'"),
        ({"log_steps": 0}, "log_steps = 0"),
        ({"sequence_length": 1}, "sequence_length = 1"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    with pytest.raises(ConfigError, match=said):
        from_dict(TrainConfig, {**RECIPE, **change})


def test_every_field_has_its_sentence():
    import ast
    import inspect

    for cls in (TrainConfig, OptimizerConfig):
        body = ast.parse(inspect.getsource(cls).lstrip()).body[0].body
        for field, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(following, ast.Expr), f"{cls.__name__}.{field.target.id} has no sentence"


@pytest.mark.parametrize("name", ["pretrain", "sft"])
def test_the_nano_recipes_are_valid(name):
    values = load_toml(f"recipes/nano/{name}.toml")
    from_dict(TrainConfig, values, where=name)
