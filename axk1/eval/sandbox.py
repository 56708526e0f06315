"""Programs that a model wrote, run against tests where they can do no harm: bubblewrap (``bwrap``).

A program sees an empty folder in memory, the Python that runs us and the system's libraries, read only; no network,
no other process, no file of ours, no variable of our environment. CPU time, memory, files and wall time are limited.
It cannot start processes or threads: a limit on their number does not hold for root, so the kernel refuses the calls
themselves (seccomp).
Where bubblewrap is missing or does not work, nothing is run at all.

What counts as passed is a word, drawn anew for each run, that is written behind the tests; leaving early is failing.
A program that searches the interpreter's memory for that word can cheat, though it can do no harm.
"""

import contextlib
import json
import platform
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from axk1.core.errors import AXK1Error

_LONGEST_PROGRAM = 100_000
_FAILURE = 200
"""Characters of an error that are kept."""
_MISSING = "install bubblewrap (apt install bubblewrap, dnf install bubblewrap) and allow user namespaces"

_BIRTHS = {
    "x86_64": (0xC000003E, (56, 57, 58, 435)),  # clone, fork, vfork, clone3
    "aarch64": (0xC00000B7, (220, 435)),  # clone, clone3
}
"""By machine: its number in the kernel's audit.h, and those of the system calls that make processes and threads."""
_X32 = 0x40000000
"""From here on are an x86 machine's calls of another convention, under which the same calls have other numbers."""

_RUNNER = r"""
import contextlib, io, json, os, resource, sys
job = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (job["cpu"], job["cpu"]))
resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
resource.setrlimit(resource.RLIMIT_FSIZE, (job["file"], job["file"]))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
out = os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(null, stream)
printed = io.StringIO()
try:
    place = {"__name__": "answer"}
    with contextlib.redirect_stdout(printed):
        exec(compile(job["program"], "answer.py", "exec"), place)
        exec(compile(job["tests"], "tests.py", "exec"), place)
    said = job["passed"]
except BaseException as error:
    said = f"{type(error).__name__}: {error}"
os.write(out, said.encode("utf-8", "replace")[:2000])
if job["printed"]:
    text = ("\n" + printed.getvalue()).encode("utf-8", "replace")[:job["printed"]]
    while text:
        text = text[os.write(out, text):]
os._exit(0)
"""


@dataclass(frozen=True)
class Sandbox:
    """Where programs run, and what they may use. Make one with ``Sandbox.open()``."""

    bwrap: str
    """The program bubblewrap."""
    seconds: float = 5.0
    """CPU time of a program; wall time may be twice as much."""
    memory_bytes: int = 512 * 2**20
    """Its address space."""
    file_bytes: int = 8 * 2**20
    """Size of a file that it writes into its folder in memory."""

    @classmethod
    def open(cls, bwrap: str | None = None, **limits: float) -> "Sandbox":
        """Finds bubblewrap and tries it.

        Args:
            bwrap: the program; left out, it is looked for in PATH.
            limits: fields of this class.

        Raises:
            AXK1Error: it is missing or does not work here; nothing was run outside of it.
        """
        if platform.machine() not in _BIRTHS:
            machines = ", ".join(_BIRTHS)
            raise AXK1Error(f"programs are graded on {machines} only, and this machine is {platform.machine()}")
        found = bwrap or shutil.which("bwrap")
        if found is None:
            raise AXK1Error("programs are graded in bubblewrap only, and bwrap is not installed", repair=_MISSING)
        sandbox = cls(found, **limits)
        failure = sandbox.run("x = 1", "assert x == 1")
        if failure is not None:
            raise AXK1Error(f"programs are graded in bubblewrap only, and bwrap fails: {failure}", repair=_MISSING)
        return sandbox

    def run(self, program: str, tests: str) -> str | None:
        """Runs a program, then its tests in the same names. Returns why they failed; None when all passed."""
        return self._run(program, tests, printed=0)[1]

    def output(self, program: str, *, limit: int = 20_000) -> tuple[str, str | None]:
        """Runs a program. Returns what it printed, up to ``limit`` bytes, and why it failed; None when it did not."""
        return self._run(program, "", printed=limit)

    def _run(self, program: str, tests: str, *, printed: int) -> tuple[str, str | None]:
        if len(program) > _LONGEST_PROGRAM:
            return "", f"a program of more than {_LONGEST_PROGRAM} characters"
        passed = secrets.token_hex(16)
        limits = {"cpu": max(1, round(self.seconds)), "memory": self.memory_bytes, "file": self.file_bytes}
        patience = 2 * self.seconds + 1
        job = json.dumps({"program": program, "tests": tests, "passed": passed, "printed": printed, **limits})
        with tempfile.TemporaryFile() as said, _no_births() as rules:
            try:
                done = subprocess.run(
                    self._command(rules),
                    input=job.encode(),
                    stdout=said,
                    stderr=subprocess.PIPE,
                    timeout=patience,
                    pass_fds=(rules,),
                )
            except subprocess.TimeoutExpired:
                return "", f"more than {patience:.0f} s"
            except OSError as error:
                return "", str(error)
            said.seek(0)
            words, _, shown = said.read(4000 + printed).decode("utf-8", "replace").partition("\n" if printed else "\0")
        if words == passed:
            return shown, None
        ended = done.stderr.decode("utf-8", "replace").strip() or f"ended early with code {done.returncode}"
        return shown, (words.replace(passed, "") or ended)[:_FAILURE]

    def _command(self, rules: int) -> list[str]:
        binds = [word for path in _system() for word in ("--ro-bind", str(path), str(path))]
        links = [word for name in ("lib", "lib64", "bin") for word in _link(name)]
        return [
            self.bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL",
            "--seccomp", str(rules),
            *binds, *links, "--proc", "/proc", "--dev", "/dev", "--size", str(4 * self.file_bytes), "--tmpfs", "/tmp",
            "--chdir", "/tmp", str(Path(sys.base_prefix) / "bin" / "python3"), "-I", "-S", "-c", _RUNNER,
        ]  # fmt: skip


@contextlib.contextmanager
def _no_births() -> Iterator[int]:
    """An open file with rules for the kernel (a BPF program): calls that make processes or threads are refused."""
    machine, births = _BIRTHS[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06  # of BPF: load a word, jump if, jump if, return
    kill, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000  # the last but one: with EPERM
    rules = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, kill), (load, 0, 0, 0)]
    rules += [(at_least, 0, 1, _X32), (answer, 0, 0, kill)]
    for birth in births:
        rules += [(equal, 0, 1, birth), (answer, 0, 0, refuse)]
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(struct.pack("=HBBI", *rule) for rule in [*rules, (answer, 0, 0, allow)]))
        file.seek(0)
        yield file.fileno()


def _system() -> list[Path]:
    """The folders of the system's libraries and of Python, whole, as they are bound into the sandbox."""
    folders = [Path("/usr"), *(Path("/") / name for name in ("lib", "lib64", "bin") if not _is_link(name))]
    base = Path(sys.base_prefix)
    return [path for path in [*folders, *([] if base.is_relative_to("/usr") else [base])] if path.exists()]


def _is_link(name: str) -> bool:
    return (Path("/") / name).is_symlink()


def _link(name: str) -> list[str]:
    return ["--symlink", str((Path("/") / name).readlink()), f"/{name}"] if _is_link(name) else []
