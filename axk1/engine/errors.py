"""What an engine may answer instead of a text; apart, so that whoever only names these errors imports no torch."""

from axk1.core.errors import AXK1Error


class QueueFull(AXK1Error):
    """More is waiting than the engine takes.

    Args:
        message: how much is waiting.
        retry_after: seconds after which it may be worth while to come again.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineStopped(AXK1Error):
    """The engine takes no requests: it is shutting down, or a pass failed."""
