"""A child process as the host holds it: what it answers, what it writes to standard error, and its end."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

_ANSWER_LIMIT: Final = 1 << 20
_READ_SIZE: Final = 16 << 10
_LAST_SECONDS: Final = 1.0
"""How long what it wrote is read once it has ended: a grandchild that escaped may hold the other end."""
# `sys` and `marshal` are the interpreter's own: nothing can stand in for them before the path is the host's.
_START: Final = (
    "import sys, marshal; job = marshal.load(sys.stdin.buffer); sys.path[:] = job['path']; "
    "from pluginhost.{} import main; main(job)"
)


class Answer(msgspec.Struct):
    """A line from a child, which the plugin there may have forged.

    Attributes:
        nonce: That of the job, unless nobody said it.
        is_last: Whether the child has said all.
    """

    nonce: str
    is_last: bool = False


A = TypeVar("A", bound=Answer)


class Child(Generic[A]):
    """A process that does one job, and all that it starts; its other end is `parent.Parent`."""

    def __init__(
        self, module: str, job: Mapping[str, object], answers: type[A], stderr: int, flags: Sequence[str] = ()
    ) -> None:
        """Starts the process.

        Args:
            module: The module of the host whose `main` does the job.
            job: What it is told; its `nonce` is what an answer must carry, its `path` the child's `sys.path`.
            answers: What is read from it.
            stderr: How many bytes of its standard error are kept, the last.
            flags: What its interpreter is told beside what this one was told.

        Raises:
            OSError: It cannot be started.
            ValueError: As well.
        """
        # As the standard library's multiprocessing does, so that the flags of this interpreter hold there too.
        own = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        self._nonce = job["nonce"]
        self._answers = msgspec.json.Decoder(answers)
        self._answered = threading.Condition()
        self._answer: A | None = None
        self._is_over = False
        self._stderr = bytearray()
        self._limit = stderr
        self._process = subprocess.Popen(
            [sys.executable, *own, *flags, "-c", _START.format(module)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # what it starts is killed with it, and a person's Ctrl-C is the host's alone
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._keep_last, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(OSError):  # it ended already, and will be asked why
            self._process.stdin.write(marshal.dumps(dict(job)))
            self._process.stdin.flush()

    @property
    def code(self) -> int | None:
        """Its exit code; `None` while it runs."""
        return self._process.returncode

    @property
    def stderr(self) -> bytes:
        """The last that it wrote to standard error."""
        return bytes(self._stderr)

    def last_answer(self, deadline: float) -> A | None:
        """Returns the last that the process said before it had said all, ended, or the deadline came."""
        with self._answered:
            self._answered.wait_for(lambda: self._is_over, max(0, deadline - time.monotonic()))
            return self._answer

    def wait(self, seconds: float) -> bool:
        """Returns whether the process has ended, within some seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Ends the process and all that it started."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except OSError:
            pass  # nothing of it is left
        self._process.wait()
        deadline = time.monotonic() + _LAST_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def status(self) -> str:
        """Returns how the process ended, in words."""
        return status(self.code)

    def _listen(self, stream: IO[bytes]) -> None:
        """Keeps the lines that carry the nonce; what else is written there is nobody's word."""
        with stream:
            while line := stream.readline(_ANSWER_LIMIT):
                try:
                    answer = self._answers.decode(line)
                except (msgspec.DecodeError, RecursionError):
                    continue
                if answer.nonce == self._nonce:
                    self._answer = answer
                    if answer.is_last:
                        break
            with self._answered:
                self._is_over = True
                self._answered.notify()
            while stream.read1(_READ_SIZE):  # type: ignore[attr-defined]
                pass  # it is closed once the other end is: no sooner, as who writes there would be told so

    def _keep_last(self, stream: IO[bytes]) -> None:
        with stream:
            while data := stream.read1(_READ_SIZE):  # type: ignore[attr-defined]
                self._stderr += data
                del self._stderr[: -self._limit]


def status(code: int | None) -> str:
    """Returns how a process ended, in words.

    Args:
        code: As `subprocess` has it: below 0 it is a signal's number.
    """
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"the signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def last_words(stderr: bytes) -> str:
    """Returns where a process was, as far as it could tell, else the last line of its standard error."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    starts = [number for number, line in enumerate(lines) if line.endswith("(most recent call first):")]
    places = [line.strip() for line in lines[starts[-1] + 1 :] if line.startswith("  File ")] if starts else []
    pythons = (f'File "{os.path.dirname(os.__file__)}', 'File "<frozen ')
    own = [place for place in places if not place.startswith(pythons) or "site-packages" in place]
    return (own or places or [line.strip() for line in lines if line.strip()][-1:] or ["it said nothing"])[0]
