"""Text <-> token ids, for our own tokenizers and any Hugging Face folder with a ``tokenizer.json``."""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import ArtifactError
from axk1.tokenizer import chat, special_tokens

TRAIN_COMMAND = "axk1 tokenizer train recipes/nano/tokenizer.toml"


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others are moved behind U+0100 in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(moved)}


_BYTES = _byte_alphabet()


class ChatIds(NamedTuple):
    """A conversation as token ids."""

    ids: list[int]
    """The tokens."""
    is_target: list[bool]
    """For each token, whether an assistant must write it."""


class Tokenizer:
    """Text <-> token ids. Open one with ``Tokenizer.load``; ``train_tokenizer`` makes one.

    Any text of Unicode scalar values comes back from ``decode(encode(text))`` unchanged, where the tokenizer has no
    normaliser (ours have none). Lone surrogates are no such values and have no UTF-8: a pair of halves is joined,
    a half alone becomes U+FFFD.

    Attributes:
        vocab_size: number of entries, special tokens included; a network's embedding may be larger (padding).
        bos_id, eos_id: the tokens that begin and end a document.
        im_end_id: the token that ends a turn (eos_id where the vocabulary has no ``<|im_end|>``).
        stop_ids: the tokens at which generation stops, in order.
        chat_template: the template that renders conversations, in Jinja; None where the folder has none.
        special_tokens: every added token -> its id.
        control_ids: those that are no text: turn ends and the like; thinking and tool marks are text.
        is_byte_level: whether ``token_bytes`` works; it does for every byte-level BPE.
        content_hash: SHA-256 of tokenizer.json; equal hashes mean equal ids.
    """

    def __init__(
        self,
        tokenizer_json: str,
        *,
        bos_token: str,
        eos_token: str,
        chat_template: str | None = chat.CHAT_TEMPLATE,
        stop_ids: Iterable[int] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a tokenizer from the text of a ``tokenizer.json``.

        Args:
            tokenizer_json: the file's text.
            bos_token, eos_token: the tokens that begin and end a document.
            chat_template: the chat template.
            stop_ids: tokens that stop generation beside eos and ``<|im_end|>``.
            config: the other entries of ``tokenizer_config.json``, written back by ``save``.
        """
        self._json = tokenizer_json
        self._tokenizer = _from_json(tokenizer_json)
        self._config = dict(config or {})
        self._bos_token, self._eos_token = bos_token, eos_token
        self.chat_template = chat_template
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_tokens = {token.content: index for index, token in sorted(added.items())}
        self.control_ids = frozenset(index for index, token in added.items() if token.special)
        self.is_byte_level = '"ByteLevel"' in json.dumps(json.loads(tokenizer_json).get("decoder"))
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.bos_id, self.eos_id = self.token_id(bos_token), self.token_id(eos_token)
        self.im_end_id = self.special_tokens.get(special_tokens.IM_END, self.eos_id)
        self.stop_ids = sorted({self.eos_id, self.im_end_id, *stop_ids})
        self.content_hash = hashlib.sha256(tokenizer_json.encode("utf-8")).hexdigest()

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Opens a folder with a ``tokenizer.json``: a tokenizer artifact, a checkpoint, any Hugging Face folder.

        The roles come from ``tokenizer_config.json``, ``generation_config.json`` and ``config.json``, the template from
        ``chat_template.jinja`` or ``tokenizer_config.json``.

        Raises:
            ArtifactError: the folder or the file is missing or corrupt, or no token can begin and end a document.
        """
        folder = Path(folder)
        config = _read_json(folder / "tokenizer_config.json")
        models = [_read_json(folder / name) for name in ("generation_config.json", "config.json")]
        text = _read_text(folder / "tokenizer.json", folder)
        names = {
            token["id"]: token["content"] for token in _read_json(folder / "tokenizer.json").get("added_tokens", [])
        }
        eos = _role("eos", config, models, names)
        bos = _role("bos", config, models, names) or _known(special_tokens.END_OF_TEXT, names) or eos
        if eos is None or bos is None:
            raise ArtifactError(
                f"no token of {str(folder)!r} is said to end a text",
                repair='add "eos_token" to its tokenizer_config.json',
            )
        template = config.pop("chat_template", None)
        if (folder / "chat_template.jinja").is_file():
            template = _read_text(folder / "chat_template.jinja", folder)
        stops = [index for model in models for index in _as_list(model.get("eos_token_id")) if index in names]
        return cls(
            text, bos_token=bos, eos_token=eos, chat_template=_default_template(template), stop_ids=stops, config=config
        )

    def save(self, folder: str | Path) -> None:
        """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja; transformers' AutoTokenizer opens them.

        ``tokenizer.json`` is written as it was read, so the content hash stays.
        """
        folder = Path(folder)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 131072,
            "clean_up_tokenization_spaces": False,
            "pad_token": self._eos_token,
            **self._config,
            "bos_token": self._bos_token,
            "eos_token": self._eos_token,
        }
        write_text_atomic(folder / "tokenizer.json", self._json)
        write_text_atomic(folder / "tokenizer_config.json", json.dumps(config, ensure_ascii=False, indent=2) + "\n")
        if self.chat_template is not None:
            write_text_atomic(folder / "chat_template.jinja", self.chat_template)

    def to_json(self) -> str:
        """The text of tokenizer.json."""
        return self._json

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a text. Nothing is added in front or behind.

        Args:
            text: any string.
            special: whether special tokens written in the text become those tokens. False for text from strangers.
        """
        return self.encode_batch([text], special)[0]

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """The ids of several texts, on all cores."""
        tokenizer = self._tokenizer if special else self._plain
        texts = list(texts)
        try:
            encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:  # not UTF-8
            encodings = tokenizer.encode_batch_fast([scalar_values(t) for t in texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        enable_thinking: bool = True,
        add_generation_prompt: bool = False,
    ) -> ChatIds:
        """A conversation as ids in which only the template can write special tokens, never the messages.

        Equal to ``encode(render_chat(...))`` for messages that spell no special token.
        """
        options = {"enable_thinking": enable_thinking, "add_generation_prompt": add_generation_prompt}
        return self.encode_segments([self.segment_chat(messages, tools=tools, **options)])[0]

    def segment_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[chat.Segment]:
        """The pieces of a conversation, see ``chat.segments``, for ``encode_segments``."""
        control = tuple(self.special_tokens)
        return chat.segments(messages, template=self._template(), control=control, **options)

    def encode_segments(self, conversations: Sequence[Sequence[chat.Segment]]) -> list[ChatIds]:
        """The ids of conversations that ``segment_chat`` cut into pieces, on all cores."""
        plain = [piece.text for pieces in conversations for piece in pieces if not piece.is_control]
        encoded = iter(self.encode_batch(plain, special=False))
        results = []
        for pieces in conversations:
            result = ChatIds([], [])
            for piece in pieces:
                ids = [self.special_tokens[piece.text]] if piece.is_control else next(encoded)
                result.ids.extend(ids)
                result.is_target.extend([piece.is_target] * len(ids))
            results.append(result)
        return results

    def render_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """A conversation as text by this tokenizer's template; for the options see ``chat.render``."""
        return chat.render(messages, template=self._template(), **options)

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of ids. Bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: the tokens.
            skip_special: whether to leave out control tokens (turn ends and the like; thinking and tools stay).
        """
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def token_bytes(self, index: int) -> bytes:
        """What a token stands for, in bytes; a token may be part of a character. Empty for an id without entry.

        Raises:
            ArtifactError: the tokenizer is not of the byte-level kind.
        """
        if not self.is_byte_level:
            raise ArtifactError("only byte-level tokenizers know the bytes of a token")
        token = self._tokenizer.id_to_token(index) or ""
        try:
            return bytes(_BYTES[character] for character in token)
        except KeyError:  # an added token with characters outside the byte alphabet stands for itself
            return token.encode("utf-8")

    def token_id(self, token: str) -> int:
        """The id of a vocabulary entry. Raises ArtifactError when there is none."""
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise ArtifactError(f"the vocabulary has no token {token!r}")
        return index

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same tokenizer without added tokens, so that nothing in a text can become one."""
        return _from_json(json.dumps({**json.loads(self._json), "added_tokens": [], "post_processor": None}))

    def _template(self) -> str:
        if self.chat_template is None:
            raise ArtifactError(
                "this tokenizer has no chat template", repair="put a chat_template.jinja beside its tokenizer.json"
            )
        return self.chat_template


def scalar_values(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD, so that it has a UTF-8 form."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _from_json(text: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises a bare Exception
        raise ArtifactError(f"this is no tokenizer.json: {error}", repair=TRAIN_COMMAND) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_text(path: Path, folder: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{str(folder)!r} has no {path.name}", repair=TRAIN_COMMAND) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{str(path)!r} cannot be read: {error}", repair=TRAIN_COMMAND) from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is corrupt: {error}") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"{str(path)!r} is corrupt: not a JSON object")
    return values


def _role(role: str, config: dict[str, Any], models: list[dict[str, Any]], names: dict[int, str]) -> str | None:
    """The token of a role; Hugging Face files name it as a text, as an object, as an id or as a list of ids."""
    token = config.get(f"{role}_token")
    token = token.get("content") if isinstance(token, dict) else token
    if isinstance(token, str):
        return _known(token, names)
    ids = [index for model in models for index in _as_list(model.get(f"{role}_token_id"))]
    return next((names[index] for index in ids if index in names), None)


def _known(token: str, names: dict[int, str]) -> str | None:
    return token if token in names.values() else None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _default_template(template: Any) -> str | None:
    """transformers allows several named templates; the one called default is for chat."""
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
