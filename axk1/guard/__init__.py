"""A text -> what in it is personal, unsafe, or an instruction in disguise; Korean and English."""

from axk1.guard.as_data import RULE, as_data, from_data, new_nonce
from axk1.guard.find_personal import find_personal
from axk1.guard.finding import Finding
from axk1.guard.hidden import hidden_instructions
from axk1.guard.redact import Redaction, redact, redactions, restore
from axk1.guard.refusal import refusal_of
from axk1.guard.unsafe import Verdict, unsafe_request

__all__ = [
    "RULE",
    "Finding",
    "Redaction",
    "Verdict",
    "as_data",
    "find_personal",
    "from_data",
    "hidden_instructions",
    "new_nonce",
    "redact",
    "redactions",
    "refusal_of",
    "restore",
    "unsafe_request",
]
