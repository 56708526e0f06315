"""What can go wrong, as a tree. Every error says what is wrong and, where one exists, the command that repairs it.

    AXK1Error              anything that the user can act on; the command line prints it and exits with code 2
    ├── ConfigError        a recipe or an option: names the field, the value and what is allowed
    ├── ArtifactError      a folder between stages is missing, incomplete, corrupt, or made from other inputs
    │   ├── CheckpointError    weights and config do not fit together
    │   │   └── UnknownNetwork     an architecture, or a variant of one, that our own code does not have
    │   └── TokenizerMismatch  two artifacts were made with different tokenizers
    ├── SourceError        a document source cannot be had, or is not what its hash says
    ├── TrainingDiverged   the loss or the gradient is no longer a finite number
    └── Interrupted        a signal asked a stage to stop; its state is on disk and the same command goes on

A bug in this package is any other exception; it keeps its traceback.
"""


class AXK1Error(Exception):
    """An error that the user can act on.

    Args:
        message: one sentence that names the thing, its value and what is allowed.
        repair: the command or edit that mends it, printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, *, repair: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.repair = repair

    def __str__(self) -> str:
        return f"{self.message}\n  repair: {self.repair}" if self.repair else self.message


class ConfigError(AXK1Error):
    """A recipe or an option is wrong."""


class ArtifactError(AXK1Error):
    """A folder that passes between stages cannot be used."""


class CheckpointError(ArtifactError):
    """Weights and config do not fit together."""


class UnknownNetwork(CheckpointError):
    """An architecture, or a variant of one, that our own code does not have; transformers may."""


class TokenizerMismatch(ArtifactError):
    """Two artifacts were made with different tokenizers, so their token ids mean different things."""


class SourceError(AXK1Error):
    """A document source cannot be had, or its content is not what its hash says."""


class TrainingDiverged(AXK1Error):
    """The loss or the gradient is no longer a finite number."""


class Interrupted(AXK1Error):
    """A signal asked a stage to stop, and it did, with its state on disk.

    Args:
        message: what was saved and where.
        signal: the number of the signal; the exit code is 128 more, as a shell counts.
        repair: the command that goes on.
    """

    def __init__(self, message: str, *, signal: int, repair: str | None = None) -> None:
        super().__init__(message, repair=repair)
        self.exit_code = 128 + signal
