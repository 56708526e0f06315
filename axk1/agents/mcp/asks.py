"""What a call may ask of a client before it can end: a form for its person, a text by its model, its folders.

``Ask`` is what a call returns in the place of a result, ``Asked`` what it finds when it is made again. Texts (sampling)
and folders (roots) are deprecated since 2026-07-28, so nothing of ours asks for them; tools that are added may.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import mcp_types as types

from axk1.agents.mcp.schema_tool import validator

FORM = "form"
"""What a request for input is called where there is nothing better."""


@dataclass(frozen=True)
class Form:
    """Questions for the person."""

    message: str
    fields: Mapping[str, Mapping[str, Any]]
    """JSON schema of each field; flat, as MCP's forms are. All are required."""

    needs = "elicitation"

    @property
    def schema(self) -> dict[str, Any]:
        """As the client gets it."""
        fields = {name: dict(schema) for name, schema in self.fields.items()}
        return {"type": "object", "properties": fields, "required": list(fields)}

    def request(self) -> types.ElicitRequest:
        """As it travels."""
        params = types.ElicitRequestFormParams(message=self.message, requested_schema=self.schema)
        return types.ElicitRequest(params=params)


@dataclass(frozen=True)
class Text:
    """A text that the client's model shall write."""

    prompt: str
    max_tokens: int = 1024

    needs = "sampling"

    def request(self) -> types.CreateMessageRequest:
        """As it travels."""
        message = types.SamplingMessage(role="user", content=types.TextContent(text=self.prompt))
        return types.CreateMessageRequest(
            params=types.CreateMessageRequestParams(messages=[message], max_tokens=self.max_tokens)
        )


@dataclass(frozen=True)
class Folders:
    """The folders that the client works in."""

    needs = "roots"

    def request(self) -> types.ListRootsRequest:
        """As it travels."""
        return types.ListRootsRequest(params=types.RequestParams())


Wanted = Form | Text | Folders


@dataclass(frozen=True)
class Ask:
    """What a call needs before it can end. ``Ask.form`` makes the most usual."""

    wants: Mapping[str, Wanted]
    """By the names that the requests have on the wire."""
    state: str = ""
    """What the call wants back with the answers; the client sees it only sealed."""
    consent: bool = True
    """Whether only the client's own answer will do; otherwise one that cannot ask may give it as an argument."""

    @classmethod
    def form(
        cls, message: str, fields: Mapping[str, Mapping[str, Any]], state: str = "", *,
        consent: bool = True, name: str = FORM,
    ) -> "Ask":  # fmt: skip
        """One form."""
        return cls({name: Form(message, fields)}, state, consent)

    @property
    def fields(self) -> dict[str, Mapping[str, Any]]:
        """The fields of all forms."""
        forms = (one for one in self.wants.values() if isinstance(one, Form))
        return {name: schema for form in forms for name, schema in form.fields.items()}

    def dumped(self) -> dict[str, Any]:
        """As JSON; ``loaded`` reads it."""
        kinds = {name: {"needs": one.needs, **asdict(one)} for name, one in self.wants.items()}
        return {"wants": kinds, "state": self.state, "consent": self.consent}

    @classmethod
    def loaded(cls, dumped: Mapping[str, Any]) -> "Ask":
        """The reverse of ``dumped``."""
        kinds = {one.needs: one for one in (Form, Text, Folders)}
        wants = {
            name: kinds[told["needs"]](**{key: value for key, value in told.items() if key != "needs"})
            for name, told in dumped["wants"].items()
        }
        return cls(wants, dumped["state"], dumped["consent"])


@dataclass(frozen=True)
class Asked:
    """How a call goes on after an ``Ask``."""

    state: str = ""
    """That of the ``Ask``; empty at the first attempt."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What the person said, by field; a text, or the addresses of folders, by the request's name."""
    declined: bool = False
    """Whether they would not say."""


def asked_of(ask: Ask, responses: Mapping[str, types.InputResponse]) -> Asked | None:
    """What a client answered; None where an answer is missing, of another kind, or does not fit the form."""
    answers: dict[str, Any] = {}
    for name, want in ask.wants.items():
        response = responses.get(name)
        if isinstance(response, types.ElicitResult) and response.action != "accept":
            return Asked(ask.state, declined=True) if isinstance(want, Form) else None
        answer = _answer(name, want, response)
        if answer is None:
            return None
        answers |= answer
    return Asked(ask.state, answers)


def _answer(name: str, want: Wanted, response: types.InputResponse | None) -> dict[str, Any] | None:
    match want, response:
        case Form(), types.ElicitResult():
            content = response.content or {}
            given = {field: content[field] for field in want.fields if field in content}  # others are left out
            return given if validator(want.schema).is_valid(given) else None
        case Text(), types.CreateMessageResult() | types.CreateMessageResultWithTools():
            blocks = response.content if isinstance(response.content, list) else [response.content]
            return {name: "".join(one.text for one in blocks if isinstance(one, types.TextContent))}
        case Folders(), types.ListRootsResult():
            return {name: [str(one.uri) for one in response.roots]}
    return None
