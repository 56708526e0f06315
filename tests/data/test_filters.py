"""Which documents are removed, and why."""

import pytest

from axk1.core.config import from_dict
from axk1.core.errors import ConfigError
from axk1.data.document import Document
from axk1.data.filters import FilterConfig, reason_to_remove, repeated_share

KOREAN = "현행법은 국가와 지방자치단체가 청년의 주거 안정을 위하여 필요한 시책을 마련하도록 규정하고 있음. " * 4
ENGLISH = "".join(f"Sentence number {n} says that the server answers every request in order. " for n in range(8))


def reason(text: str, language: str, **fields) -> str | None:
    return reason_to_remove(Document("i", text, "s", "l", language), FilterConfig(**fields))


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (KOREAN, "ko", None),
        (ENGLISH, "en", None),
        ("짧은 글.", "ko", "too short"),
        (ENGLISH, "ko", "wrong language"),
        (KOREAN, "en", "wrong language"),
        (ENGLISH + "\ufffd" * 20, "en", "broken characters"),
        (ENGLISH + "#@$%^&*+=<>" * 40, "en", "too many symbols"),
        ("\n".join(["the same line again and again"] * 8), "en", "repeated lines"),
        ("# Title\n\n```python\n" + ENGLISH + "\n```", "en", "hardly any prose"),
        ("# 제목\n\n" + KOREAN + "\n\n```python\n" + ENGLISH * 9 + "\n```", "ko", None),
        ("# 제목\n\n" + KOREAN + "`" + ENGLISH * 9 + "`", "ko", None),
        ("x = {'a': [1, 2], 'b': (3,)} # $%^&*" * 9, "code", None),
        ("こんにちは、これは日本語の文章です。" * 9, "ja", None),
        ("これはかなだけのぶんしょうです。" * 9, "zh", "wrong language"),
        ("El servidor responde a cada petición según su orden. " * 5, "es", None),
    ],
)
def test_reasons(text, language, expected):
    assert reason(text, language) == expected


def test_repeated_code_in_a_tutorial_is_no_repetition_but_in_code_it_is():
    code = "\n".join(["```python", "print('the same line of the tutorial once more')", "```"])
    text = f"{ENGLISH}\n{code}\n{code}\n{code}\n{code}\n{code}\n{code}\n{code}"
    assert reason(text, "en") is None
    assert reason(text, "code") == "repeated lines"


def test_repeated_share_counts_characters():
    assert repeated_share("abc\nabc\nabcdef") == 3 / 12
    assert repeated_share("") == 0


def test_limits_are_the_recipes():
    assert reason(KOREAN, "ko", min_characters=10_000) == "too short"
    assert reason(ENGLISH, "ko", min_script_share=0) is None
    with pytest.raises(ConfigError, match=r"max_symbol_share = 1\.5 is not allowed; allowed: a share from 0 to 1"):
        FilterConfig(max_symbol_share=1.5)
    with pytest.raises(ConfigError, match="unknown key 'min_character', did you mean 'min_characters'"):
        from_dict(FilterConfig, {"min_character": 3})
