"""A text -> what in it is personal, unsafe, or an instruction in disguise; Korean and English."""

from axk1.guard.as_data import RULE, as_data, from_data, new_nonce
from axk1.guard.finding import Finding
from axk1.guard.hidden import hidden_instructions

__all__ = ["RULE", "Finding", "as_data", "from_data", "hidden_instructions", "new_nonce"]
