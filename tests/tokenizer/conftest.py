"""A small tokenizer, learned once, and the text it was learned from."""

import pytest

from axk1.tokenizer import Tokenizer
from axk1.tokenizer.training import learn

TEXTS = [
    "제안이유 및 주요내용\n현행법은 국회의원의 의정활동을 지원하기 위하여 필요한 경비를 지급하도록 규정하고 있음. " * 8,
    "이에 법률의 적용 대상을 명확히 하고, 과태료를 100만원에서 300만원으로 올리려는 것임(안 제12조 및 제34조).\n" * 8,
    "FastAPI는 Python 3.8+ 기반의 빠른 웹 프레임워크입니다. API를 만들고 문서를 자동으로 생성합니다.\n" * 8,
    "The committee shall report to the Assembly within 30 days, and the Assembly may amend the bill. " * 8,
    "In the beginning God created the heaven and the earth. And the earth was without form, and void. " * 8,
    "def fibonacci(n: int) -> int:\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n"
    * 8,
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Korean, English and code."""
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer of 640 entries, learned from ``texts``."""
    return learn(iter(TEXTS), vocab_size=640, reserved_tokens=7)
