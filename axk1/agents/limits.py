"""``Limits``: how much a run may use; ``Usage``: what it has used."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from axk1.core.config import require


@dataclass(frozen=True)
class Usage:
    """What a run has used."""

    turns: int = 0
    """Times that the model was asked."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Time at work; waiting for a person does not count."""
    cost: float = 0.0
    """By the prices in ``Limits``."""

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens

    def to_wire(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self) | {"total_tokens": self.total_tokens}


@dataclass(frozen=True)
class Limits:
    """How much a run may use before it stops."""

    max_turns: int = 30
    """Times that the model may be asked."""
    max_tokens: int = 200_000
    """Tokens read and written by the model."""
    max_seconds: float = 900
    """Time at work; waiting for a person does not count."""
    max_cost: float = float("inf")
    """Money for tokens, in the currency of the prices."""
    max_calls: int = 60
    """Calls of tools."""
    max_mistakes: int = 3
    """Turns in a row in which the model does nothing right, such as calling tools that do not exist."""
    max_turn_tokens: int = 1024
    """Longest turn of the model."""
    price_prompt: float = 0.0
    """Price of a million tokens read."""
    price_completion: float = 0.0
    """Price of a million tokens written."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.startswith("price_"):
                require(value >= 0, each.name, value, "0 or more")
            else:
                require(value > 0, each.name, value, "more than 0")

    def within(self, asked: "Limits | None") -> "Limits":
        """What a person asked for, where it is narrower; the prices stay."""
        if asked is None:
            return self
        names = [each.name for each in fields(self) if each.name.startswith("max_")]
        return replace(self, **{name: min(getattr(self, name), getattr(asked, name)) for name in names})

    def priced(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What some tokens cost."""
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6

    def reached(self, usage: Usage, *, calls: int) -> str | None:
        """The first limit that is reached, with its value; None while all is well."""
        used = {
            "max_turns": usage.turns,
            "max_tokens": usage.total_tokens,
            "max_seconds": usage.seconds,
            "max_cost": usage.cost,
            "max_calls": calls,
        }
        over = (name for name, amount in used.items() if amount >= getattr(self, name))
        name = next(over, None)
        return None if name is None else f"{name} = {getattr(self, name)}"
