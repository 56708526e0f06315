"""Personal data as they are written in English, or the same everywhere."""

import ipaddress
import re

from axk1.guard.personal.check_digits import is_iban, is_luhn
from axk1.guard.personal.pattern import Pattern, digits, words

_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    "|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATE = (
    rf"(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:\d{{4}}|\d{{2}})"
    rf"|{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}\.?,? \d{{4}})"
)
_STREET = (
    "(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Square|Sq|Terrace|Close"
    "|Crescent|Parkway|Pkwy|Highway|Hwy)"
)


_VERSION = re.compile(r"(?:버전|version|\bver?\.?|release) ?$", re.I)


def _card(match: re.Match[str]) -> float | None:
    number = digits(match.group())
    if len(set(number)) < 2 or number[0] not in "34569":
        return None
    return 0.93 if is_luhn(number) else 0.15


def _iban(match: re.Match[str]) -> float | None:
    code = match.group().replace(" ", "").upper()
    return 0.97 if 15 <= len(code) <= 34 and is_iban(code) else None


def _ip(match: re.Match[str]) -> float | None:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return None
    if _VERSION.search(match.string, max(0, match.start() - 12), match.start()):
        return None
    return 0.75 if address.is_global else 0.3


def _secret(match: re.Match[str]) -> float | None:
    """A password has a digit or a sign in it, or stands in quotes; ``password: required`` is none."""
    said = match["it"].strip("\"'")
    mixed = sum(bool(re.search(kind, said)) for kind in ("[a-z]", "[A-Z]", r"\d", r"[^A-Za-z0-9]"))
    if re.fullmatch(r"[*xX.•<>{}\[\]\-_]+|(?:\$|\{|<|%|os\.).*", said) or len(set(said)) < 3:
        return None
    return 0.75 if mixed >= 2 and re.search(r"\d|[!@#$%^&*]", said) else 0.2


def _key(match: re.Match[str]) -> float | None:
    return 0.9 if len(set(match.group())) > 8 else None


def _person(match: re.Match[str]) -> float | None:
    first = match["it"].split()[0]
    return None if first in _NO_PEOPLE else 0.7


_NO_PEOPLE = frozenset({
    "All", "Customer", "Dear", "Here", "Madam", "Name", "Not", "Please", "Required", "Sir", "Sirs", "Team", "That",
    "The", "This", "User", "Your",
})  # fmt: skip

PATTERNS = (
    Pattern(
        "email",
        re.compile(
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@"
            r"(?:[A-Za-z0-9가-힣\-]{1,63}\.){1,4}[A-Za-z]{2,12}(?![A-Za-z0-9\-])"
        ),
        0.95,
    ),
    Pattern(
        "email",
        re.compile(
            r"(?<![A-Za-z0-9._])[A-Za-z0-9][A-Za-z0-9._\-]{1,40} ?(?:\[at\]|\(at\)| at |골뱅이"
            r"|앳) ?[A-Za-z0-9\-]{2,40} ?(?:\.|\[dot\]|\(dot\)| dot |점|닷) ?(?:com|net|org|co\.kr|kr"
            r"|컴)(?![A-Za-z0-9])",
            re.I,
        ),
        0.75,
    ),
    Pattern(
        "card",
        re.compile(r"(?<![\d\-.])\d{4}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}(?![\d\-])"),
        _card,
        words("카드|card|visa|master"),
        0.7,
    ),
    Pattern(
        "card", re.compile(r"(?<![\d\-.])3[47]\d{2}[- ]?\d{6}[- ]?\d{5}(?![\d\-])"), _card, words("카드|card|amex"), 0.7
    ),
    Pattern(
        "ssn",
        re.compile(r"(?<![\d\-])(?!000|666|9)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}(?![\d\-])"),
        0.7,
        words("ssn|social security"),
    ),
    Pattern(
        "ssn",
        re.compile(r"(?<!\d)(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}(?!\d)"),
        0.05,
        words(r"\bssn\b|social security"),
        0.8,
    ),
    Pattern(
        "phone",
        re.compile(r"(?<![\d\-.+])(?:\+?1[-. ]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])\d{3}[-. ]\d{4}(?![\d\-])"),
        0.7,
        words("phone|call|tel|mobile|cell|fax|contact"),
    ),
    Pattern(
        "phone", re.compile(r"(?<![\d+])\+(?!82)[1-9]\d{0,2}[-. ]?(?:\(?\d{1,4}\)?[-. ]?){2,4}\d{2,4}(?!\d)"), 0.75
    ),
    Pattern(
        "phone",
        re.compile(r"(?<!\d)0\d{2,4}[ -]\d{3,4}[ -]\d{3,4}(?!\d)"),
        0.3,
        words("phone|call|tel|mobile|cell"),
        0.75,
    ),
    Pattern(
        "iban",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"),
        _iban,
    ),
    Pattern(
        "passport",
        re.compile(
            r"(?i:passport)(?i: ?(?:no|number|num|#))?\.? ?[:#]? ?(?:is )?(?P<it>[A-Z]{0,2}\d{6,9})(?![A-Za-z0-9])"
        ),
        0.85,
    ),
    Pattern(
        "address",
        re.compile(
            rf"(?<![\d.\-])\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?(?:(?:[A-Z][a-z]{{1,15}}|\d{{1,3}}(?:st|nd|rd"
            rf"|th)) ){{1,3}}{_STREET}\b\.?(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat"
            rf"|#)\.? ?[A-Za-z0-9]{{1,6}})?(?:, [A-Z][A-Za-z ]{{2,24}})?(?:,? [A-Z]{{2}} \d{{5}}(?:-\d{{4}})?)?"
        ),
        0.75,
    ),
    Pattern(
        "date_of_birth",
        re.compile(
            rf"(?:\b(?i:born|date of birth|dob|birthday|birth date|d\.o\.b\.))(?i: ?(?:is|on|:|was"
            rf"|-)){{0,2}} ?(?:on )?(?P<it>{_DATE})"
        ),
        0.85,
    ),
    Pattern(
        "name",
        re.compile(
            r"(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.? (?P<it>[A-Z][a-z]{1,15}(?:[ -][A-Z][a-z]{1,15}){0,2})"
            r"(?![A-Za-z])"
        ),
        _person,
    ),
    Pattern(
        "name",
        re.compile(
            r"(?:(?i:my name is|full name:|name:|patient:|signed,?|attn:?"
            r"|this is) )(?P<it>[A-Z][a-z]{1,15}(?: [A-Z]\.)?(?:[ -][A-Z][a-z]{1,15}){1,2})(?![A-Za-z])"
        ),
        _person,
    ),
    Pattern(
        "ip_address",
        re.compile(r"(?<![\d.A-Za-z])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.]|\d)"),
        _ip,
        words(r"\bip\b|접속|address|host|server|서버|from|주소"),
        0.6,
    ),
    Pattern(
        "ip_address",
        re.compile(r"(?<![0-9A-Za-z:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![0-9A-Za-z:])"),
        _ip,
    ),
    Pattern(
        "secret",
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_\-]{20,200}|gh[pousr]_[A-Za-z0-9]{30,100}"
            r"|github_pat_[A-Za-z0-9_]{30,100}|A[KS]IA[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{35}"
            r"|xox[abprs]-[0-9A-Za-z\-]{10,100}|glpat-[A-Za-z0-9_\-]{20,60}|hf_[A-Za-z0-9]{30,60}"
            r"|axk1_[A-Za-z0-9_\-]{16,100}|pypi-[A-Za-z0-9_\-]{50,300}|npm_[A-Za-z0-9]{36}"
            r"|eyJ[A-Za-z0-9_\-]{10,800}\.eyJ[A-Za-z0-9_\-]{10,3000}\.[A-Za-z0-9_\-]{10,800})(?![A-Za-z0-9])"
        ),
        _key,
    ),
    Pattern(
        "secret",
        re.compile(
            r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,8000}(?:-----END (?:[A-Z]{2,10}"
            r" ){0,2}PRIVATE KEY-----)?"
        ),
        0.97,
    ),
    Pattern(
        "secret",
        re.compile(
            r"(?i:(?<![a-z])(?:password|passwd|passcode|pwd|api[_ \-]?key|secret(?:[_ ]key)?|access[_ ]token"
            r"|auth[_ ]token))[\"']?(?: is| ?[:=])[ ]?(?P<it>[\"']?[!-~]{4,80}[\"']?)"
        ),
        _secret,
    ),
    Pattern(
        "secret",
        re.compile(
            r"(?:비밀번호|비번|패스워드|암호|인증키|API ?키|시크릿)(?:은|는"
            r"|가)? ?[:=]? ?(?P<it>[!-~]{4,64})(?= ?(?:입니다|이야|예요|이에요|임|로|으로|,|\.|\n|$|이고|야))"
        ),
        _secret,
    ),
)
