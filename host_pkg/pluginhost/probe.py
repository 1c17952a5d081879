"""A plugin's first load, in a process that may be lost: hangs, crashes and exits become findings."""

from __future__ import annotations

import contextlib
import marshal
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

import msgspec

from pluginhost import verdicts
from pluginhost.errors import Finding, PluginProbeError

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

    from pluginhost.survey import Candidate
    from pluginhost.throwaway import Job

Reached: TypeAlias = Literal["registered", "imported", "made", "usable"]
"""The stages of a first load: found in the metadata, its module imported, its factory called, of its contracts."""

# `sys` and `marshal` are the interpreter's own: nothing can stand in for them before the path is the host's.
_START: Final = (
    "import sys, marshal; job = marshal.load(sys.stdin.buffer); sys.path[:] = job['path']; "
    "from pluginhost.throwaway import main; main(job)"
)
_ANSWER_LIMIT: Final = 1 << 20
_STDERR_LIMIT: Final = 16 << 10
_END_SECONDS: Final = 5.0
"""What a process may take to end once the plugin is loaded: exit functions run, threads are waited for."""


class _Answer(msgspec.Struct):
    """A line from the throw-away process, which the plugin there may have forged."""

    nonce: str
    reached: Reached
    is_last: bool = False
    missing: str = ""
    findings: list[tuple[str, str, str, str, Literal["error", "warning"], str]] = []
    habits: list[tuple[str, str]] = []


class Report:
    """What a first load showed.

    Attributes:
        reached: The last stage that went well.
        findings: What went wrong, and what is told; what the host would not survive is of the stage `probe`.
        missing: The module whose absence failed the import; empty when it was something else.
        habits: What the plugin's own code did at import or in its factory that belongs into `init`.
        seconds: What it took.
    """

    __slots__ = ("findings", "habits", "missing", "reached", "seconds")

    def __init__(self) -> None:
        self.reached: Reached = "registered"
        self.findings: list[Finding] = []
        self.missing = ""
        self.habits: list[tuple[str, str]] = []
        self.seconds = 0.0


def verdict(
    candidate: Candidate, made_of: bytes | None, api: str | None, contracts: Collection[str], *, seconds: float
) -> list[Finding]:
    """Returns what speaks against a plugin, or is told of it, after a first load; it is remembered.

    What merely fails is left to the host's own load, which can tell more of it, and not remembered: what was missing
    may come to be there without any file's changing.

    Args:
        candidate: What was admitted.
        made_of: What `verdicts.content` returned.
        api: The import name of the API package; `None` when there is none.
        contracts: The names of the contracts that the plugin must implement.
        seconds: The deadline.

    Raises:
        PluginProbeError: There can be no throw-away process.
    """
    report = first_load(candidate, api, contracts, seconds=seconds)
    dangers = [finding for finding in report.findings if finding.stage == "probe" and finding.severity == "error"]
    found = [*dangers, *(finding for finding in report.findings if finding.code == "work-begun")]
    if dangers or report.reached == "usable":
        verdicts.remember(candidate, made_of, found)
    return found


def first_load(
    candidate: Candidate, api: str | None, contracts: Collection[str], *, seconds: float, makes: bool = True
) -> Report:
    """Returns what a plugin's import and its `New()` showed in a process of their own.

    Args:
        candidate: What was admitted.
        api: The import name of the API package; `None` when there is none.
        contracts: The names of the contracts that the plugin must implement.
        seconds: The deadline; then the process is killed.
        makes: Whether the factory is called; entry points of other groups may name anything.

    Raises:
        PluginProbeError: No process could be started, or it failed before it came to the plugin.
    """
    started = time.monotonic()
    of = candidate.distribution
    job: Job = {
        "path": [entry for entry in sys.path if type(entry) is str],
        "nonce": secrets.token_hex(16),
        "entry": (candidate.group, candidate.name, candidate.value),
        "distribution": (of.name, of.version, of.origin, of.info),
        "api": api,
        "contracts": list(contracts),
        "makes": makes,
        "seconds": seconds * 0.9,
    }
    try:
        process = _Process(job)
    except (OSError, ValueError) as exc:
        raise _failed(candidate, f"cannot be started: {exc}") from exc
    report = Report()
    try:
        last = process.last_answer(started + seconds)
        is_done = last is not None and last.is_last
        left = max(0.05, started + seconds - time.monotonic())  # it may be silent, and not at its end yet
        has_ended = process.wait(min(_END_SECONDS, seconds) if is_done else left)
    finally:
        process.kill()
    if last is None:
        raise _failed(candidate, f"ended with {process.status()} before it came to the plugin: {process.last_words()}")
    report.reached, report.missing, report.habits = last.reached, last.missing, last.habits
    report.findings = [Finding(*plain) for plain in last.findings]
    if not is_done:
        report.findings.append(_lost(candidate, process, report.reached, has_ended, seconds))
    elif not has_ended or process.code != 0:
        report.findings.append(_disturbed(candidate, process, has_ended, seconds))
    report.seconds = time.monotonic() - started
    return report


class _Process:
    """The throw-away process, as the host holds it.

    Attributes:
        code: Its exit code; `None` while it runs.
    """

    def __init__(self, job: Job) -> None:
        # As the standard library's multiprocessing does, so that the flags of this interpreter hold there too.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        self._nonce = job["nonce"]
        self._answered = threading.Condition()
        self._answer: _Answer | None = None
        self._is_over = False
        self._stderr = b""
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-c", _START],
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
        return self._process.returncode

    def last_answer(self, deadline: float) -> _Answer | None:
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
        for reader in self._readers:
            reader.join(0.2)  # a grandchild that escaped may hold the other end
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None and not any(reader.is_alive() for reader in self._readers):
                    stream.close()

    def status(self) -> str:
        """Returns how the process ended, in words."""
        if self.code is not None and self.code < 0:
            with contextlib.suppress(ValueError):
                return f"the signal {signal.Signals(-self.code).name}"
        return f"exit status {self.code}"

    def last_words(self) -> str:
        """Returns where it was, as far as it could tell, else the last line of its standard error."""
        lines = self._stderr.decode("utf-8", "replace").splitlines()
        starts = [number for number, line in enumerate(lines) if line.endswith("(most recent call first):")]
        places = [line.strip() for line in lines[starts[-1] + 1 :] if line.startswith("  File ")] if starts else []
        pythons = (f'File "{os.path.dirname(os.__file__)}', 'File "<frozen ')
        own = [place for place in places if not place.startswith(pythons) or "site-packages" in place]
        return (own or places or [line.strip() for line in lines if line.strip()][-1:] or ["it said nothing"])[0]

    def _listen(self, stream: IO[bytes]) -> None:
        """Keeps the lines that carry the nonce; what else is written there is nobody's word."""
        while line := stream.readline(_ANSWER_LIMIT):
            try:
                answer = msgspec.json.decode(line, type=_Answer)
            except (msgspec.DecodeError, RecursionError):
                continue
            if answer.nonce == self._nonce:
                self._answer = answer
                if answer.is_last:
                    break
        with self._answered:
            self._is_over = True
            self._answered.notify()

    def _keep_last(self, stream: IO[bytes]) -> None:
        while data := stream.read1(_STDERR_LIMIT):  # type: ignore[attr-defined]
            self._stderr = (self._stderr + data)[-_STDERR_LIMIT:]


def _lost(candidate: Candidate, process: _Process, reached: str, has_ended: bool, seconds: float) -> Finding:
    what = f"calling {candidate.factory}()" if reached == "imported" else f"importing {candidate.module}"
    if has_ended:
        message = f"{what} ended the process, with {process.status()}"
    else:
        message = f"{what} did not come to an end in {seconds:g} s"
    return Finding(
        "probe-crashed" if has_ended else "probe-hung",
        f"{candidate}: {message}: {process.last_words()}",
        _hint(candidate),
        candidate.distribution.info,
    )


def _disturbed(candidate: Candidate, process: _Process, has_ended: bool, seconds: float) -> Finding:
    how = f"ended with {process.status()}" if has_ended else f"did not end within {min(_END_SECONDS, seconds):g} s"
    return Finding(
        "exit-disturbed",
        f"{candidate}: a process that has loaded it {how}",
        _hint(candidate),
        candidate.distribution.info,
    )


def _hint(candidate: Candidate) -> str:
    name = candidate.distribution.name
    return (
        f"tell the author of {name}, or uninstall it: pip uninstall {name}; once what it needs is mended: "
        f"pluginhost cache --clear"
    )


def _failed(candidate: Candidate, what: str) -> PluginProbeError:
    return PluginProbeError(
        Finding(
            "probe-failed",
            f"{candidate}: the process for its first load {what}",
            'see that sys.executable runs Python; probe = "never" does without',
            candidate.distribution.info,
        )
    )
