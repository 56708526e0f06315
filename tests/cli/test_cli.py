"""The command line: every help page, and what bad input gets: one clear sentence, the repair, exit code 2."""

import ast
import inspect
import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from axk1 import cli
from axk1.core.errors import AXK1Error
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "axk1", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(Transformer(ModelConfig(architecture="Qwen3ForCausalLM", intermediate_size=24, **sizes)), folder)
    return folder


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_every_option(name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as left:
        cli.dispatch([*name.split(), "--help"])
    page = capsys.readouterr().out
    assert left.value.code == 0
    assert f"usage: axk1 {name}" in page and cli.COMMANDS[name].help in page and "--dry-run" in page
    fields = _sentences(cli.config_class(name))
    assert fields
    for field, sentence in fields.items():
        assert sentence, f"{field} has no sentence"
        assert f"--{field.replace('_', '-')}" in page or field in HIDDEN, field


HIDDEN = {
    "source",
    "description",
    "stages",
    "shares",
    "weights",
    "max_tokens_per_source",
    "shards",
    "optim",
    "files",
    "teachers",
}
"""Fields that are tables: the command line shows their parts, or leaves them to the recipe."""


def _sentences(config_class: type) -> dict[str, str]:
    """The docstring under each field of a config, its bases included."""
    found = {}
    for base in reversed(config_class.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for statement, following in itertools.pairwise([*body, ast.Pass()]):
            if isinstance(statement, ast.AnnAssign):
                text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                found[statement.target.id] = following.value.value if text else ""
    return found


def test_the_overview_names_every_command(capsys):
    cli.dispatch([])
    page = capsys.readouterr().out
    assert all(f"axk1 {name}" in page for name in cli.COMMANDS)


def test_an_error_is_one_sentence_with_its_repair_and_exit_code_2():
    wrong = run("pretrian", "x.toml")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "'pretrian x.toml' is not a command" in wrong.stderr and "repair: axk1 --help" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert run("--version").stdout.startswith("axk1 ")


def test_unknown_options_are_refused():
    wrong = run("inspect", "recipes/nano/teacher.json", "--contxt", "4")
    assert wrong.returncode == 2 and "--contxt" in wrong.stderr and "--context" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain"], "needs a recipe"),
        (["pretrain", "recipes/nano/pretrian.toml"], "did you mean 'pretrain.toml'"),
        (["pretrain", "{tmp}/unknown.toml"], "did you mean 'total_tokens'"),
        (["pretrain", "{tmp}/missing.toml"], "'output' is missing"),
        (["data", "buidl"], "did you mean 'data build'"),
        (["chat", "{tmp}/nowhere"], "nowhere"),
        (["inspect", "{tmp}/nowhere"], "nowhere"),
        (["report", "{tmp}/nowhere"], "nowhere"),
        (["sft", "recipes/nano/sft.toml", "--tokenizer", "{tmp}/nowhere"], "nowhere"),
    ],
)
def test_what_is_missing_or_misspelt_is_named(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = 'model = "m.json"\ntokenizer = "t"\nshards = []\n'
    (tmp_path / "unknown.toml").write_text(whole + 'output = "o"\ntotal_token = 5\n')
    (tmp_path / "missing.toml").write_text(whole)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AXK1Error) as caught:
        cli.dispatch([word.format(tmp=tmp_path) for word in words])
    assert message in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}"), "model.safetensors' is corrupt"),
        (lambda d: (d / "model.safetensors").unlink(), "holds neither model.safetensors"),
        (lambda d: (d / "config.json").write_text("{"), "is not a model config"),
        (lambda d: _edit(d, hidden_size=24), "the config asks for"),
        (lambda d: _edit(d, architectures=["GPT2LMHeadModel"]), "'GPT2LMHeadModel' is not supported"),
        (lambda d: None, "tokenizer"),  # whole weights, but no tokenizer beside them
    ],
)
def test_checkpoints_that_cannot_be_used_say_why(spoil, message, checkpoint):
    spoil(checkpoint)
    with pytest.raises(AXK1Error) as caught:
        cli.dispatch(["chat", str(checkpoint), "--prompt", "hello"])
    assert message in caught.value.message


def _edit(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_importing_the_package_or_its_light_rooms_does_not_import_torch():
    rooms = "axk1, axk1.core.config, axk1.tokenizer.chat, axk1.data.shards, axk1.eval.graders, axk1.channels.terminal"
    rooms += ", axk1.search.ask, axk1.agents.command, axk1.named_model"
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize("words", ["--help", "inspect --help", "inspect recipes/nano/teacher.json"])
def test_a_reader_that_leaves_early_sees_no_traceback(words):
    pipe = f"{sys.executable} -m axk1 {words} | true"
    done = subprocess.run(["bash", "-c", pipe], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert not done.stderr
