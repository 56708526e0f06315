"""The command line: ``axk1 <command> RECIPE.toml --field value``. The only file with imports inside functions.

A command is a config dataclass and a function. Its fields' sentences are the help, its recipe gives their values, and
options override them.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from axk1.core import runtime
from axk1.core.config import from_dict, load_toml
from axk1.core.errors import AXK1Error, ConfigError


@dataclass(frozen=True)
class Command:
    """Where a command's code is, and what its first argument means."""

    help: str
    module: str
    config: str
    function: str
    argument: str = "recipe"
    """``recipe`` (a TOML file) or the name of the field that the first argument sets."""
    recipe: str | None = None
    """A recipe of this repository, for the example in the help."""
    needs_model: str | None = None
    """The field that names a checkpoint which the function takes opened, as its first argument."""
    talks: bool = False
    """Whether the function takes ``core.chat_model.OpenChatModel`` as its first argument."""


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "The whole chain at nano size, from documents to a student that answers",
        "axk1.chain", "ChainConfig", "run_chain", recipe="recipes/nano/chain.toml",
    ),
    "data build": Command(
        "Documents: download, clean, deduplicate, hold out",
        "axk1.data.documents", "DocumentsConfig", "build_documents", recipe="recipes/nano/documents.toml",
    ),
    "data conversations": Command(
        "Conversations: verifiable reasoning tasks with think and non-think answers, Korean and English",
        "axk1.data.conversations", "ConversationsConfig", "build_conversations",
        recipe="recipes/nano/conversations.toml",
    ),
    "tokenizer train": Command(
        "Tokenizer: a byte-level BPE from the documents",
        "axk1.tokenizer.training", "TokenizerConfig", "train_tokenizer", recipe="recipes/nano/tokenizer.toml",
    ),
    "tokenizer report": Command(
        "Bytes per token in Korean, English and code, beside other tokenizers",
        "axk1.tokenizer.report", "ReportConfig", "report", argument="tokenizer",
    ),
    "data tokenize": Command(
        "Shards: token ids of documents or conversations, ready for training",
        "axk1.data.tokenize", "ShardsConfig", "build_shards", recipe="recipes/nano/shards-text.toml",
    ),
    "pretrain": Command(
        "A model from text shards",
        "axk1.train.pretrain", "PretrainConfig", "pretrain", recipe="recipes/nano/pretrain.toml",
    ),
    "sft": Command(
        "A model that answers, from conversation shards",
        "axk1.train.sft", "SftConfig", "sft", recipe="recipes/nano/sft.toml",
    ),
    "distill cache": Command(
        "The teacher's distribution at every position, written once",
        "axk1.distill.capture", "CacheConfig", "build_cache", recipe="recipes/nano/cache.toml",
    ),
    "distill import": Command(
        "A cache that another program wrote (DistillKit, open-instruct, Megatron-LM) as a knowledge cache",
        "axk1.distill.importing", "ImportCacheConfig", "import_cache", argument="folder",
    ),
    "distill verify": Command(
        "Checksums of a knowledge cache, and a sample of it scored again by the teacher",
        "axk1.distill.verifying", "VerifyConfig", "verify_cache", argument="cache",
    ),
    "distill write": Command(
        "Conversations of a teacher's own answers, those that a grader verifies",
        "axk1.distill.write", "WriteConfig", "write_answers", recipe="recipes/nano/write.toml",
    ),
    "distill init": Command(
        "A student's starting weights, cut from its teacher",
        "axk1.distill.initialise.init_student", "InitConfig", "init_student", recipe="recipes/nano/init-dense.toml",
    ),
    "distill train": Command(
        "A student, taught from the cache (or a control without it)",
        "axk1.distill.student", "DistillConfig", "train_student", recipe="recipes/nano/student.toml",
    ),
    "distill across": Command(
        "A student of another tokenizer, taught from the cache by what both say of the same spans of text",
        "axk1.distill.across.student", "AcrossConfig", "train_across", recipe="recipes/nano/across.toml",
    ),
    "distill measure": Command(
        "How far a student is from its teacher, over whole distributions",
        "axk1.distill.initialise.measure_student", "MeasureConfig", "measure_student", argument="student",
    ),
    "distill on-policy": Command(
        "A student, taught on its own answers",
        "axk1.distill.on_policy", "OnPolicyConfig", "train_on_policy", recipe="recipes/nano/on-policy.toml",
    ),
    "agents dialogues": Command(
        "Verified dialogues of an agent at work, to teach a small student to drive one",
        "axk1.agents.dialogues.build", "DialoguesConfig", "build_dialogues", recipe="recipes/assistant/dialogues.toml",
    ),
    "agents exercises": Command(
        "Exercises in copying, on which a small model learns to read before it learns to work",
        "axk1.agents.dialogues.exercises", "ExercisesConfig", "build_exercises",
        recipe="recipes/assistant/exercises.toml",
    ),
    "agents simulate": Command(
        "A model drives the agent through fresh tasks: how many it finishes, and how safely",
        "axk1.agents.dialogues.simulate", "SimulateConfig", "simulate", argument="model", talks=True,
    ),
    "eval": Command(
        "Scores with error bars: bits per byte on held-out text, exact match on fresh reasoning tasks",
        "axk1.eval.evaluate", "EvalConfig", "evaluate", recipe="recipes/nano/eval.toml", needs_model="model",
    ),
    "compare": Command(
        "Models side by side, with paired differences",
        "axk1.eval.compare", "CompareConfig", "compare", recipe="recipes/nano/compare.toml",
    ),
    "report": Command(
        "One self-contained page about a run",
        "axk1.eval.report", "ReportConfig", "write_report", argument="run",
    ),
    "chat": Command(
        "Talk to a checkpoint",
        "axk1.channels.terminal", "ChatConfig", "chat", argument="path", needs_model="path",
    ),
    "ask": Command(
        "An answer from your documents, every sentence of it cited and checked; or none",
        "axk1.search.ask", "AskConfig", "ask", argument="question", talks=True,
    ),
    "agent": Command(
        "Work done by a model with tools; it asks what is missing, and before anything is sent or deleted",
        "axk1.agents.command", "AgentConfig", "agent", argument="goal", talks=True,
    ),
    "mcp serve": Command(
        "Search, tools and agents for other programs, over the Model Context Protocol",
        "axk1.agents.mcp.serve", "McpServeConfig", "serve_mcp", argument="model", talks=True,
    ),
    "agent list": Command(
        "Runs of agents, the newest first",
        "axk1.agents.command", "ListConfig", "list_runs", argument="status",
    ),
    "serve": Command(
        "A checkpoint, or servers elsewhere, behind OpenAI's API",
        "axk1.app", "ServeConfig", "serve", argument="path",
    ),
    "tenants add": Command(
        "An organisation that may use the server, with its limits",
        "axk1.serve.tenants.commands", "AddConfig", "add", argument="organisation",
    ),
    "tenants key": Command(
        "A new API key of an organisation, shown once",
        "axk1.serve.tenants.commands", "KeyConfig", "key", argument="organisation",
    ),
    "tenants list": Command(
        "Organisations, keys and limits",
        "axk1.serve.tenants.commands", "ListConfig", "list_tenants", argument="organisation",
    ),
    "tenants limit": Command(
        "Other limits, time zone or privacy of an organisation or a key, from the next request on",
        "axk1.serve.tenants.commands", "LimitConfig", "limit", argument="name",
    ),
    "tenants move": Command(
        "A key to another organisation, from the next request on",
        "axk1.serve.tenants.commands", "MoveConfig", "move", argument="key",
    ),
    "tenants revoke": Command(
        "The end of a key, from the next request on",
        "axk1.serve.tenants.commands", "RevokeConfig", "revoke", argument="key",
    ),
    "tenants usage": Command(
        "Requests and tokens by organisation, key, day and model",
        "axk1.serve.tenants.commands", "UsageConfig", "usage", argument="organisation",
    ),
    "tenants audit": Command(
        "Who did what, a JSON object in each line",
        "axk1.serve.tenants.commands", "AuditConfig", "audit", argument="organisation",
    ),
    "guard check": Command(
        "What in a text is personal, unsafe, or an instruction in disguise",
        "axk1.guard.check", "CheckConfig", "check", argument="file",
    ),
    "search build": Command(
        "A search index of folders and files, brought up to date with what has changed",
        "axk1.search.build", "BuildConfig", "build", recipe="recipes/search/docs.toml",
    ),
    "search find": Command(
        "The passages of an index that a question finds",
        "axk1.search.find", "FindConfig", "find", argument="question",
    ),
    "inspect": Command(
        "Parameters, memory, cache and FLOPs of a model, from its config alone",
        "axk1.model.inspect", "InspectConfig", "inspect_command", argument="path",
    ),
    "export quantize": Command(
        "A checkpoint with weights of 16, 8 or 4 bits, for fast answers on a CPU",
        "axk1.export.quantize", "QuantizeConfig", "export_quantize", argument="path",
    ),
    "import gguf": Command(
        "A GGUF file as a Hugging Face folder",
        "axk1.model.import_gguf", "ImportConfig", "import_gguf", argument="source",
    ),
}  # fmt: skip


def main() -> None:
    """Runs the command of this process and leaves with its exit code: 0, or 2 for what the user can mend."""
    arguments = sys.argv[1:]
    try:
        if _asks_for_work(arguments):
            runtime.enter(arguments)
            runtime.end_with_parent()
        dispatch(arguments)
    except AXK1Error as error:
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"[red]error:[/red] {escape(error.message)}")
        if error.repair:
            errors.print(f"[yellow]repair:[/yellow] {escape(error.repair)}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as ``head`` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def dispatch(arguments: Sequence[str]) -> Any:
    """Runs one command in this process and returns what its function returns.

    Args:
        arguments: the words after ``axk1``.

    Raises:
        AXK1Error: whatever the user can mend.
    """
    words = list(arguments)
    name = next((n for n in (" ".join(words[:2]), " ".join(words[:1])) if n in COMMANDS), None)
    if name is None:
        return _print_overview(words)
    command = COMMANDS[name]
    rest = words[len(name.split()) :]
    if name == "quickstart" and (not rest or rest[0].startswith("-")):
        rest = [str(command.recipe), *rest]
    config, dry_run = _parse(name, command, rest)
    return _call(command, config, dry_run)


def _asks_for_work(arguments: Sequence[str]) -> bool:
    return bool(arguments) and not {"--help", "-h", "--dry-run", "--version"} & set(arguments)


def _parse(name: str, command: Command, words: list[str]) -> tuple[Any, bool]:
    """Recipe, then options, strictly. Returns the config and whether to stop after the plan."""
    import tyro

    dry_run = "--dry-run" in words
    words = [word for word in words if word != "--dry-run"]
    config_type = config_class(name)
    first = words.pop(0) if words and not words[0].startswith("-") else None
    default = None
    usage = f"axk1 {name} {command.argument.upper()}"
    if command.argument == "recipe":
        asks_help = bool({"--help", "-h"} & set(words))
        if first is None and not (asks_help and Path(str(command.recipe)).exists()):
            raise ConfigError(f"axk1 {name} needs a recipe", repair=f"axk1 {name} {command.recipe}")
        recipe = first or str(command.recipe)
        default = from_dict(config_type, load_toml(recipe), where=recipe)
    elif first is not None:
        words = [f"--{command.argument.replace('_', '-')}", first, *words]
    description = f"{command.help}.\n\n--dry-run stops after the plan. Options override the recipe."
    config = tyro.cli(config_type, prog=usage, description=description, default=default, args=words)
    return config, dry_run


def _call(command: Command, config: Any, dry_run: bool) -> Any:
    function: Callable[..., Any] = getattr(importlib.import_module(command.module), command.function)
    options = {"dry_run": True} if dry_run else {}
    if command.module == "axk1.chain":
        return function(config, dispatch, **options)
    if command.talks:
        from axk1.named_model import open_chat_model

        return function(open_chat_model, config, **options)
    if command.needs_model is None:
        return function(config, **options)
    from axk1.engine.llm import LLM

    return function(LLM.load(getattr(config, command.needs_model)), config, **options)


def _print_overview(words: list[str]) -> None:
    """Prints the commands, or those of a group; an unknown one is an error."""
    from axk1.core.config import nearest

    output = Console(highlight=False)
    plain = [word for word in words if not word.startswith("-")]
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        output.print(f"axk1 {version('axk1')}")
        return
    group = plain[0] if plain else None
    shown = {name: c for name, c in COMMANDS.items() if group is None or name.startswith(f"{group} ")}
    if not shown or len(plain) > 1:
        asked = " ".join(plain[:2])
        raise ConfigError(f"{asked!r} is not a command{nearest(asked, list(COMMANDS))}", repair="axk1 --help")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, command in shown.items():
        table.add_row(f"  [bold]axk1 {name}[/bold] [dim]{command.argument.upper()}[/dim]", command.help)
    output.print("A.X K1, open: from documents to a teacher to a student that fits one device.\n")
    output.print(table)
    output.print("\n[dim]axk1 COMMAND --help explains every option; --dry-run prints the plan and stops.[/dim]")


def config_class(name: str) -> type:
    """The config dataclass of a command; its room is imported only now."""
    command = COMMANDS[name]
    return getattr(importlib.import_module(command.module), command.config)
