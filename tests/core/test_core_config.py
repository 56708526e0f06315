"""Strict configuration: what is accepted, and what every refusal says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from axk1.core.config import from_dict, load_toml, require, to_dict
from axk1.core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    output: Path
    steps: int = 3
    kind: Literal["fast", "exact"] = "fast"
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Inner, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    on: bool = False

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps", self.steps, "a positive number")


def test_nested_values_become_dataclasses_and_back():
    values = {"output": "a/b", "inner": {"rate": 2, "names": ["x"]}, "parts": [{"rate": 0.5}], "shares": {"ko": 1}}
    config = from_dict(Outer, values)
    assert config == Outer(Path("a/b"), inner=Inner(2.0, ("x",)), parts=(Inner(0.5),), shares={"ko": 1.0})
    assert from_dict(Outer, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"output": "x", "stepz": 4}, ["stepz", "did you mean 'steps'", "allowed: output"]),
        ({"output": "x", "inner": {"rat": 4}}, ["inner", "rat", "did you mean 'rate'"]),
        ({"output": "x", "steps": "four"}, ["steps", "'four'", "a whole number"]),
        ({"output": "x", "steps": True}, ["steps", "True", "a whole number"]),
        ({"output": "x", "steps": 0}, ["steps", "0", "a positive number"]),
        ({"output": "x", "kind": "fats"}, ["kind", "did you mean 'fast'", "'exact'"]),
        ({"output": "x", "limit": 1.5}, ["limit", "1.5"]),
        ({"output": "x", "inner": 3}, ["inner", "a table"]),
        ({"output": "x", "parts": {"rate": 1}}, ["parts", "a list"]),
        ({"output": "x", "shares": {"ko": "much"}}, ["shares.ko", "a number"]),
        ({"output": "x", "inner": {"rate": float("nan")}}, ["rate", "finite"]),
        ({"output": "x", "on": "yes"}, ["on", "true or false"]),
        ({"steps": 4}, ["output", "missing"]),
    ],
)
def test_refusals_name_field_value_and_what_is_allowed(values, words):
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, values, where="run.toml")
    assert all(word in caught.value.message for word in ["run.toml", *words]), caught.value.message


def test_recipe_files_that_cannot_be_read(tmp_path):
    (tmp_path / "pretrain.toml").write_text("a = 1\n")
    with pytest.raises(ConfigError, match=r"did you mean 'pretrain\.toml'"):
        load_toml(tmp_path / "pretrian.toml")
    (tmp_path / "bad.toml").write_bytes(b"a = = \xff")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_toml(tmp_path / "bad.toml")
