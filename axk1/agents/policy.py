"""``Policy``: what an agent may do by itself, what a person must agree to, and what never happens. A YAML file:

    effects: {read: ALLOW, write: ALLOW, send: CONFIRM, delete: CONFIRM, pay: BLOCK}
    confirmation_minutes: 60
    tools:
      run_python: BLOCK
      send_mail:
        - when: {to: {domains: [example.com]}}
          then: ALLOW
        - then: CONFIRM
          confirmation_minutes: 10

A tool's rules are read from the top; the first whose conditions all hold decides, and the tool's effect where none
does. The model never sees the policy, and nothing that it writes can change it.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from axk1.agents.tool import Effect, Tool
from axk1.core.config import nearest
from axk1.core.errors import ConfigError

_ADDRESS = re.compile(r"(?:[^<>@,;\"]*<)?[^\s<>@,;:\"/\\]+@([^\s<>@,;:\"/\\]+)>?")
"""Just one mail address, with a name before it or without."""


class Verdict(StrEnum):
    """What happens to a call."""

    ALLOW = "ALLOW"
    """It runs."""
    CONFIRM = "CONFIRM"
    """It runs when the person has agreed to what they were shown."""
    BLOCK = "BLOCK"
    """It never runs."""


DEFAULT_EFFECTS: Mapping[Effect, Verdict] = {
    Effect.READ: Verdict.ALLOW,
    Effect.WRITE: Verdict.ALLOW,
    Effect.SEND: Verdict.CONFIRM,
    Effect.DELETE: Verdict.CONFIRM,
    Effect.PAY: Verdict.CONFIRM,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Strict):
    """What must be true of an argument; of each of its values where it is a list."""

    domains: list[str] | None = None
    """Domains of mail addresses or web pages; ``*.example.com`` stands for all below it."""
    one_of: list[str | float] | None = None
    """The values that it may have."""
    matches: str | None = None
    """A regular expression for the whole text."""
    at_most: float | None = None
    """The greatest number."""

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern

    def holds(self, value: Any) -> bool:
        """Whether a value, or every value of a list, is such; an empty one never is."""
        values = value if isinstance(value, list | tuple) else [value]
        return bool(values) and all(self._holds(one) for one in values)

    def _holds(self, value: Any) -> bool:
        if value is None:
            return False
        checks = [
            self.domains is None or _is_of(_domain(str(value)), self.domains),
            self.one_of is None or value in self.one_of,
            self.matches is None or re.fullmatch(self.matches, str(value)) is not None,
            self.at_most is None or (isinstance(value, int | float) and value <= self.at_most),
        ]
        return all(checks)


class Rule(_Strict):
    """What happens to calls whose arguments are such."""

    when: dict[str, Condition] = Field(default_factory=dict)
    """Conditions by argument; all must hold."""
    then: Verdict
    confirmation_minutes: float | None = Field(default=None, gt=0)

    def holds(self, arguments: Mapping[str, Any]) -> bool:
        """Whether all conditions do."""
        return all(condition.holds(arguments.get(name)) for name, condition in self.when.items())


class Decision(_Strict):
    """What the policy says of one call."""

    verdict: Verdict
    confirmation_minutes: float
    reason: str
    """Which line of the policy said so."""


class Policy(_Strict):
    """All rules."""

    effects: dict[Effect, Verdict] = Field(default_factory=dict)
    tools: dict[str, list[Rule]] = Field(default_factory=dict)
    confirmation_minutes: float = Field(default=60, gt=0)
    """How long a confirmation is waited for; a later one is asked anew."""

    @field_validator("tools", mode="before")
    @classmethod
    def _short_form(cls, tools: Any) -> Any:
        """``run_python: BLOCK`` is one rule without conditions."""
        if not isinstance(tools, dict):
            return tools
        return {name: [{"then": rules}] if isinstance(rules, str) else rules for name, rules in tools.items()}

    @classmethod
    def load(cls, path: str | Path, tools: Mapping[str, Tool] | None = None) -> "Policy":
        """Reads a policy file.

        Args:
            path: of the YAML file.
            tools: those that there are; a policy for any other is a mistake.

        Raises:
            ConfigError: it is none; names the place, the value and what is allowed.
        """
        try:
            read = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"agent_policy = {str(path)!r} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"agent_policy = {str(path)!r} is not YAML: {error}") from None
        try:
            policy = cls.model_validate(read)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_told(error)}") from None
        if tools is not None:
            policy.check(tools, where=str(path))
        return policy

    def check(self, tools: Mapping[str, Tool], *, where: str) -> None:
        """Raises ConfigError where a rule names a tool or an argument that does not exist, and so protects nothing."""
        for name, rules in self.tools.items():
            if name not in tools:
                near = nearest(name, list(tools))
                raise ConfigError(f"{where}: tools.{name} is no tool{near}; allowed: {', '.join(sorted(tools))}")
            there = list(tools[name].arguments.model_fields)
            for argument in (argument for rule in rules for argument in rule.when if argument not in there):
                near = nearest(argument, there)
                raise ConfigError(f"{where}: {name} has no argument {argument!r}{near}; allowed: {', '.join(there)}")

    def decide(self, tool: Tool, arguments: Mapping[str, Any]) -> Decision:
        """What happens to a call. Args: arguments: in their types."""
        for place, rule in enumerate(self.tools.get(tool.name, ())):
            if rule.holds(arguments):
                minutes = rule.confirmation_minutes or self.confirmation_minutes
                reason = f"tools.{tool.name}[{place}]"
                return Decision(verdict=rule.then, confirmation_minutes=minutes, reason=reason)
        verdict = self.effects.get(tool.effect, DEFAULT_EFFECTS[tool.effect])
        minutes = self.confirmation_minutes
        return Decision(verdict=verdict, confirmation_minutes=minutes, reason=f"effects.{tool.effect}")


def _is_of(domain: str, patterns: Sequence[str]) -> bool:
    return domain != "" and any(fnmatch.fnmatchcase(domain, one.lower()) for one in patterns)


def _domain(value: str) -> str:
    """The domain of a mail address or of a page, in small letters; nothing for what is not just one of them."""
    address = _ADDRESS.fullmatch(value.strip())
    if address is not None:
        return address[1].lower()
    if "\\" in value or "://" not in value:  # programs read these in more than one way
        return ""
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, ValueError):
        return ""
    return "" if url.userinfo or url.scheme not in ("http", "https") else url.host.lower()


def _told(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    place: Sequence[Any] = first["loc"]
    return f"{'.'.join(map(str, place)) or 'the policy'} = {first['input']!r} is not allowed: {first['msg']}"
