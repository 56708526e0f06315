"""Grading against references; programs run in a real sandbox, where there is one."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.core.errors import AXK1Error
from axk1.eval.references import program, same_mathematics, same_text, verdict
from axk1.eval.sandbox import Sandbox


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("1/2", "\\frac{1}{2}", True),
        ("The answer is $1+x^2$.", "x^2+1", True),
        ("so it is \\boxed{0.5}", "1/2", True),
        ("41", "42", False),
        ("", "42", False),
        ("\\frac{1}{", "1/2", False),
    ],
)
def test_mathematics_is_compared_by_its_meaning(answer, reference, right):
    assert same_mathematics(answer, reference) == right


def test_no_text_reaches_the_interpreter(tmp_path):
    trap = tmp_path / "trap"
    for text in (f"__import__('os').mkdir('{trap}')", f"$__import__('os').mkdir('{trap}')$"):
        assert not same_mathematics(text, "1")
    assert not trap.exists()


def test_text_is_compared_but_for_blanks_and_forms():
    assert same_text(" 서울\n시 ", "서울 시") and same_text("ﬁne", "fine") and not same_text("Seoul", "seoul")


@given(st.text(max_size=60))
def test_no_text_raises(text):
    assert verdict("exact", text, "a b").right == (" ".join(text.split()) == "a b" or same_text(text, "a b"))
    assert verdict("math", text.replace("^", ""), "17/3").reason in ("", "wrong answer", "no answer")


def test_the_program_is_the_last_fenced_block():
    assert program("first\n```python\nx = 1\n```\nbetter:\n```py\nx = 2\n```\n") == "x = 2\n"
    assert program("x = 3") == "x = 3"


@pytest.fixture(scope="module")
def sandbox():
    try:
        return Sandbox.open(os.environ.get("BWRAP"), seconds=1)
    except AXK1Error as error:
        pytest.skip(str(error))


def test_a_sandbox_that_does_not_work_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(AXK1Error, match="bwrap fails"):
        Sandbox.open(shutil.which("true"))


def test_a_program_that_passes_its_tests_is_right_and_one_that_does_not_says_why(sandbox):
    answer = "```python\ndef double(x):\n    return 2 * x\n```"
    assert verdict("code", answer, "assert double(4) == 8", sandbox=sandbox).right
    wrong = verdict("code", answer, "assert double(4) == 9, 'not nine'", sandbox=sandbox)
    assert not wrong.right and "not nine" in wrong.reason


@pytest.mark.parametrize(
    "text",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "while True: pass",
        "import time; time.sleep(60)",
        "x = bytearray(2**31)",
        "import os\nwhile True: os.fork()",
        "open('big', 'wb').write(bytes(10**8))",
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
        f"open({str(Path(__file__).resolve())!r})",
        "open('/usr/written', 'w')",
        "import os; os.kill(os.getppid(), 9); raise ValueError('alive')",
    ],
)
def test_nothing_that_is_forbidden_passes(sandbox, text):
    assert sandbox.run(text, "pass") is not None


@pytest.mark.parametrize(
    "birth",
    ["os.fork()", "subprocess.run(['true'])", "threading.Thread(target=print).start()", "os.posix_spawn(*true)"],
)
def test_a_program_starts_no_other(sandbox, birth):
    names = "import os, subprocess, threading\ntrue = '/usr/bin/true', ['true'], {}\n"
    tried = f"{names}try:\n    {birth}\nexcept (OSError, RuntimeError):\n    refused = True\n"
    assert sandbox.run(tried, "assert refused") is None


def test_a_program_sees_none_of_our_environment(sandbox, monkeypatch):
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    assert sandbox.run("import os", "assert 'SECRET_OF_OURS' not in os.environ and os.getcwd() == '/tmp'") is None
