"""Words with which a chat's turns are marked, where strangers have no business to write them; links that carry data."""

import re

from axk1.guard.finding import Finding

SPECIAL = re.compile(
    r"<[|｜][^|｜<>\n]{1,40}[|｜]>"
    r"|</?(?:[a-z]{1,12}:)?(?:system|assistant|user|human|developer|tool|tools|tool_calls?|tool_response|tool_result|think"
    r"|thinking|function|function_calls?|function_results|invoke|parameter|answer|instructions?)(?:\s[^<>\n]{0,100})?>"
    r"|\[/?(?:INST|SYSTEM|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|시스템)\]|<</?SYS>>"
    r"|</?(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad)>"
    r"|```[ ]?(?:tool_call|tool_code|function_call|system|assistant)\b",
    re.I,
)
"""What tokenizers and prompt formats use to mark turns and tool calls."""

TURN = re.compile(
    r"(?:^|\n|#)[ \t>*#\-\[]{0,8}(?:human|assistant|system|user|developer|시스템|어시스턴트)"
    r"(?: (?:message|prompt|instruction|override|메시지|지시|프롬프트))?(?:\*{0,2}[ ]?[:：]|\])",
    re.I,
)
"""The beginning of a turn as a transcript writes it."""

_SURE = {"<|": 0.85, "<｜": 0.85, "[i": 0.8, "[/": 0.8, "<<": 0.85, "``": 0.6, "[s": 0.45, "[시": 0.45, "<s": 0.45}
_SURE_OTHER = 0.4
_ABOUT = re.compile(
    r"template|token(?:s|izer)?\b|format|example|syntax|chatml|prompt engineering|documentation|tutorial"
    r"|예시|형식|템플릿|토큰|문법|설명|예제",
    re.I,
)
_CALL = re.compile(
    r"[{\s]\"?(?:name|function|tool)\"?\s{0,3}:\s{0,3}\"[a-z_.]{2,40}\"\s{0,3},"
    r"\s{0,3}\"?(?:arguments|parameters|args|input)\"?\s{0,3}:",
    re.I,
)
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,200}\]\(\s{0,3}<?(https?://[^\s)>]{4,2000})"
    r"|<img\b[^>]{0,200}\bsrc\s{0,2}=\s{0,2}[\"']?(https?://[^\s\"'>]{4,2000})",
    re.I,
)
_HOLE = re.compile(
    r"\{+[^{}]{1,60}\}+|%7B|\[[A-Za-z가-힣_ ]{2,40}\]?$|<[A-Za-z가-힣_ ]{2,40}|\$\{?[A-Za-z_]{2,30}"
    r"|(?<==)(?:DATA|SECRET|BASE64|HISTORY|CONVERSATION|PASSWORD|여기에|대화|비밀)"
)
_LOAD = re.compile(r"[?&][a-z_]{1,20}=[A-Za-z0-9+/%_\-]{120}", re.I)


def spoofed_turns(text: str) -> list[Finding]:
    """Marks of turns and tool calls; less sure where the text around explains such marks."""
    found = []
    for match in SPECIAL.finditer(text):
        sure = _SURE.get(match.group()[:2].lower(), _SURE_OTHER)
        if _ABOUT.search(text, max(0, match.start() - 160), match.end() + 120):
            sure *= 0.5
        found.append(Finding(match.start(), match.end(), "spoofed_turn", sure))
    for match in _CALL.finditer(text):
        near = text[max(0, match.start() - 60) : match.start()]
        sure = 0.7 if SPECIAL.search(near) else 0.4
        found.append(Finding(match.start(), match.end(), "spoofed_call", sure))
    return found


def carrying_links(text: str) -> list[Finding]:
    """Images whose address has a hole to be filled with data, or is full of it: showing them sends it away."""
    found = []
    for match in _IMAGE.finditer(text):
        group = 1 if match[1] else 2
        address = match[group]
        behind = text[match.end(group) : match.end(group) + 1]
        query = address[address.find("?") :] if "?" in address else address.partition("://")[2].partition("/")[2]
        if _HOLE.search(query + ("" if behind in ")\"'" else behind)):
            found.append(Finding(*match.span(), "carrying_link", 0.8))
        elif _LOAD.search(address):
            found.append(Finding(*match.span(), "carrying_link", 0.55))
    return found
