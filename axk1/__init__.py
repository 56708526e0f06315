"""A.X K1, open: from documents to a mixture-of-experts teacher to a student that fits one device."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axk1.model.checkpoint import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    # Half of the rooms work without torch, so importing the package must not import it.
    if name == "load_model":
        from axk1.model.checkpoint import load_model

        return load_model
    raise AttributeError(f"module 'axk1' has no attribute {name!r}")
