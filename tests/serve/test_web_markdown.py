"""Markdown on the chat page: nothing from a model becomes markup, and what is read is what CommonMark says."""

import json
import random
from html.parser import HTMLParser

import pytest
from chromium import Browser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

DRAW = """(async (texts) => {
  const { Markdown } = await import("/web/markdown.js");
  const box = document.createElement("div");
  document.getElementById("conversation").replaceChildren(box); // in the page, where a script would run
  const markdown = new Markdown(box);
  texts.forEach((text) => markdown.draw(text));
  return %s;
})(%s)"""
TREE = "box.innerHTML"
ALLOWED = {
    **{f"h{level}": set() for level in range(2, 7)},
    **{name: set() for name in ("p", "blockquote", "hr", "br", "strong", "em", "del", "ul", "span")},
    **{name: set() for name in ("table", "thead", "tbody", "tr", "code")},
    "a": {"href", "target", "rel", "title"},
    "button": {"type", "data-word"},
    "pre": {"tabindex"},
    "div": {"tabindex"},
    "ol": {"start"},
    "li": set(),
    "input": {"type", "disabled", "checked"},
    "th": {"style"},
    "td": {"style"},
}
ATTACKS = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<details open ontoggle=window.hit=1>",
    "[a](javascript:window.hit=1)",
    "[a](JaVaScRiPt&colon;window.hit=1)",
    "[a](java\tscript:window.hit=1)",
    "[a](&#106;avascript:window.hit=1)",
    "[a](data:text/html,<script>parent.hit=1</script>)",
    "[a](vbscript:x)",
    "<javascript:window.hit=1>",
    "![a](http://127.0.0.1:9/x.png)",
    '![a](x" onerror="window.hit=1)',
    '[a](http://127.0.0.1:9/ "\\" onmouseover=window.hit=1 x=\\"")',
    "[r]: javascript:window.hit=1\n\n[r]",
    "```<img/src/onerror=window.hit=1>\n<script>window.hit=1</script>\n```",
    "| <img src=x onerror=window.hit=1> |\n|--|\n| <script>window.hit=1</script> |",
    "<style>*{display:none}</style>",
    "<base href='http://127.0.0.1:9/'>",
    "<form action='http://127.0.0.1:9/'><input name=q></form>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "<math><mtext></form><form><mglyph><svg><mtext><textarea><path id='</textarea><img onerror=window.hit=1 src=1>'>",
]
FRAGMENTS = [
    *ATTACKS,
    "**",
    "*",
    "_",
    "`",
    "~~",
    "\n",
    "\n\n",
    "> ",
    "- ",
    "1. ",
    "# ",
    "[",
    "](",
    ")",
    "<",
    ">",
    "&",
    "\\",
    "한글",
    "|",
    "---\n",
]


class Elements(HTMLParser):
    """The elements of HTML with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data) -> None:
        self.text += data


def draw(browser: Browser, *texts: str, give: str = TREE):
    """What the page makes of a text that grows, one state after another."""
    return browser.run(DRAW % (give, json.dumps(texts)))


@pytest.fixture(scope="module")
def opened(chromium, server):
    chromium.open(server.url)
    return chromium


def check_inert(browser: Browser, text: str) -> None:
    for tag, attributes in Elements(draw(browser, text)).found:
        assert tag in ALLOWED and set(attributes) - {"class"} <= ALLOWED[tag], (tag, attributes)
        assert attributes.get("href", "https://").startswith(("http://", "https://", "mailto:"))
    assert browser.run("window.hit === undefined")


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_is_only_text(opened, text):
    check_inert(opened, text)
    check_inert(opened, f"> - {text}\n\n| a |\n|--|\n| {text} |")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=12).map("".join))
def test_no_mixture_of_attacks_and_markdown_gets_through(opened, text):
    check_inert(opened, text)


def test_html_is_shown_as_it_was_written(opened):
    text = Elements(draw(opened, "a <b>c</b> &lt;d&gt; <br>\n\n<div>\n**e**\n</div>")).text
    assert text == "a <b>c</b> <d> <br><div>e</div>"


def test_pictures_and_links_load_nothing(opened):
    draw(opened, "![a](http://127.0.0.1:9/x.png) [b](http://127.0.0.1:9/y) <http://127.0.0.1:9/z>")
    loaded = opened.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded and not any(":9/" in name for name in loaded)


DOCUMENT = """\
# Budget *of* 2026

The **committee** met; see [the law](https://law.go.kr/a?b=1&c=2 "title") & `x < y`.

1. first
2. second
   - inner **one**
   - inner two

> quoted
> ## heading

| stage | days | note |
|:------|-----:|:----:|
| first | 14   | *a*  |
| last  | 30   | `b`  |

```python
def f(x):
    return x < 1 and "&amp;"
```

***

### 예산안의 심사

예산은 **14일**에 ~~확정~~ 제출한다 &amp; 끝.
"""


def test_it_reads_as_another_parser_of_commonmark_does(opened):
    """markdown-it-py, without the page's own: headings one level lower, boxes around blocks, a bar above code."""
    html = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render(DOCUMENT)
    reference, ours = Elements(html), Elements(draw(opened, DOCUMENT))
    lower = {f"h{level}": f"h{level + 1}" for level in range(1, 6)} | {"s": "del"}
    expected = [(lower.get(tag, tag), attributes.get("href")) for tag, attributes in reference.found]
    found = [(tag, attributes.get("href")) for tag, attributes in ours.found if tag not in ("div", "span", "button")]
    assert found == expected
    assert "".join(ours.text.split()).replace("pythonCopy", "") == "".join(reference.text.split())
    aligned = [
        attributes.get("style", "").replace(" ", "").strip(";") for tag, attributes in ours.found if tag in ("th", "td")
    ]
    assert aligned == [attributes.get("style", "") for tag, attributes in reference.found if tag in ("th", "td")]


@pytest.mark.parametrize("seed", range(4))
def test_a_text_that_grows_ends_as_if_it_had_come_at_once(opened, seed):
    places = sorted(random.Random(seed).sample(range(len(DOCUMENT)), 60))
    assert draw(opened, *(DOCUMENT[:place] for place in places), DOCUMENT) == draw(opened, DOCUMENT)


def test_blocks_that_are_done_are_left_alone_while_more_arrives(opened):
    done = "# one\n\ntwo\n\n```js\nlet a;\n"
    note = "window.seen = [box.children[0], box.querySelector('pre code').firstChild];"
    again = DRAW.replace("texts.forEach", "markdown.draw(texts[0]); " + note + " texts.forEach")
    same = "window.seen[0] === box.children[0] && window.seen[1] === box.querySelector('pre code').firstChild"
    assert opened.run(again % (same, json.dumps([done, done + "let b;\n"])))


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ("**'국회법'**에 따라", ["'국회법'"]),
        ("**예산(안)**은 **a**", ["예산(안)", "a"]),
        ("2 ** 3 ** 4", []),
        ("`**a)**는`", []),
    ],
)
def test_bold_ends_before_a_korean_particle(opened, text, bold):
    assert draw(opened, text, give="[...box.querySelectorAll('strong')].map((e) => e.textContent)") == bold


def test_nesting_beyond_the_parser_is_shown_as_text(opened):
    text = "> " * 20000 + "end"
    assert draw(opened, text, give="box.textContent").endswith("end")
