"""MkDocs pages become plain Markdown."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.data.markdown import clean_markdown

PAGE = """---
search:
  exclude: true
---
# 요청 본문 {#request-body}

<!-- a comment
over lines -->
<style>
.md { display: none; }
</style>
보통 <a href="https://x.y/z" class="external-link">Pydantic</a>과 [링크](body.md#a){.internal target=_blank}를 봅니다.
[`Agent`][agents.Agent]와 <abbr title="사용자 인터페이스">UI</abbr>, <https://example.com>, a &lt; b.

![그림](/img/a.png) <img src="/img/b.png">

!!! tip "알아 두기"
    첫 줄입니다.

    ```Python hl_lines="2"
    {!> ../../../docs_src/body/tutorial001.py!}
    ```

    둘째 줄입니다.

??? note
    접힌 글.

=== "Python 3.10+"

    ```python title="server.py"
    --8<-- "docs_src/a.py"
    ```

=== "uv"

    ```bash
    uv add "mcp[cli]"
    ```

<div class="termy">

```console
$ uvicorn main:app
<span style="color: green;">INFO</span>:     running on <b>http://127.0.0.1</b>
```

</div>

{% if sponsors %}
{{ sponsor.url }}
{% endif %}

::: agents.agent

/// warning | 조심
빗금 안의 글.
///

| a | b |
|---|---|
| 1 | `x` |
"""


def test_a_page_is_read_as_a_person_reads_it():
    assert clean_markdown(PAGE) == (
        "# 요청 본문\n\n"
        "보통 Pydantic과 링크를 봅니다.\n`Agent`와 UI, https://example.com, a < b.\n\n"
        "알아 두기\n\n첫 줄입니다.\n\n둘째 줄입니다.\n\n"
        "접힌 글.\n\n"
        'uv\n\n```bash\nuv add "mcp[cli]"\n```\n\n'
        "```console\n$ uvicorn main:app\nINFO:     running on http://127.0.0.1\n```\n\n"
        "조심\n빗금 안의 글.\n\n"
        "| a | b |\n|---|---|\n| 1 | `x` |"
    )


def test_code_keeps_its_content_and_blank_lines():
    code = "```html\n<a href='x'>[y](z)</a> {{ name }} !!! note\n\n\n&lt; {#id}\n```"
    assert (
        clean_markdown(f"text\n\n{code}\n\nmore `<b>[x](y)</b>` text") == f"text\n\n{code}\n\nmore `<b>[x](y)</b>` text"
    )


def test_code_in_a_list_keeps_its_indentation():
    page = "* point\n\n    ```python\n    if x:\n        y()\n    ```\n\n* next"
    assert clean_markdown(page) == page


def test_placeholders_that_are_no_html_stay():
    assert clean_markdown("Write <name> and Vec<T>, 1 < 2 > 0.") == "Write <name> and Vec<T>, 1 < 2 > 0."


def test_an_unclosed_fence_runs_to_the_end():
    assert clean_markdown("a\n\n```python\nx = [1](2)\n") == "a\n\n```python\nx = [1](2)\n```"


@pytest.mark.parametrize("left_over", ["!!!", "{!", "--8<--", "</", "{%", "](", "{#", "-->", "\x02"])
def test_nothing_that_only_a_site_generator_understands_is_left(left_over):
    assert left_over not in re.sub(r"`[^`]*`", "", clean_markdown(PAGE))


# fmt: off
PIECES = (
    "```", "````", "~~~", "`", "``", "\n", "\n\n", "    ", "!!! note\n", '=== "x"\n', "<b>", "</b>", "<!--", "-->",
    "[", "]", "(", ")", "![", "{", "}", "{#a}", "{%", "%}", "---\n", "| a |", "* ", "한글", "text", "\x02", "0\x03",
    "&amp;", "///", "::: a", "<style>", "{{", "}}", "\\", "[^1]", "http://x",
)
# fmt: on
MARKUP = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@settings(max_examples=200, deadline=2000)
@given(MARKUP | st.text(max_size=300))
def test_any_text_is_cleaned_without_an_error(text):
    cleaned = clean_markdown(text)
    assert "\x02" not in cleaned
    assert "\x03" not in cleaned


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="abc 가나다.,", min_size=1, max_size=40).map(str.strip).filter(bool), max_size=6))
def test_plain_paragraphs_stay_as_they_are(paragraphs):
    text = "\n\n".join(paragraphs)
    assert clean_markdown(text) == text
