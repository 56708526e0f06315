"""A.X K1, open: from documents to a mixture-of-experts teacher to a student that fits one device."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axk1.engine.llm import LLM
    from axk1.engine.sampling_params import SamplingParams
    from axk1.model.checkpoint import load_model

__all__ = ["LLM", "SamplingParams", "load_model"]

_HOMES = {
    "LLM": "axk1.engine.llm",
    "SamplingParams": "axk1.engine.sampling_params",
    "load_model": "axk1.model.checkpoint",
}


def __getattr__(name: str) -> Any:
    # Half of the rooms work without torch, so importing the package must not import it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'axk1' has no attribute {name!r}")
