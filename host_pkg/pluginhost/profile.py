"""What each plugin's start costs: its import, its `New()` and its `init`, measured in a process each."""

from __future__ import annotations

import pickle
import re
import secrets
import statistics
import sys
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from pluginhost import importtime
from pluginhost.child import Answer, Child, last_words
from pluginhost.errors import Finding, PluginRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Final

    from pluginhost.importtime import Module
    from pluginhost.settings import Configuration
    from pluginhost.stopwatch import Job
    from pluginhost.survey import Row

Stage: TypeAlias = Literal["import", "new", "init"]

STAGES: Final[tuple[Stage, ...]] = ("import", "new", "init")
"""What is measured, in its order."""

_STDERR_LIMIT: Final = 16 << 20
_END_SECONDS: Final = 15.0
"""What a plugin's shutdown and the process's end may take; then the process is killed, and the figures stand."""


class _Answer(Answer):
    """What the process tells: where it is, and in the end what it measured."""

    reached: Literal["", Stage] = ""
    findings: list[tuple[str, str, str, str, Literal["error", "warning"], str]] = msgspec.field(default_factory=list)
    nanoseconds: dict[Stage, int] = msgspec.field(default_factory=dict)
    modules: int = 0


class Run:
    """What one start of a plugin took.

    Attributes:
        seconds: By stage.
        modules: How many modules it brought in.
        imports: By stage, what was imported in it.
    """

    __slots__ = ("imports", "modules", "seconds")

    def __init__(self, seconds: Mapping[Stage, float], modules: int, imports: Mapping[Stage, list[Module]]) -> None:
        self.seconds = seconds
        self.modules = modules
        self.imports = imports

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


class Profile:
    """What a plugin's start costs.

    Attributes:
        row: The plugin.
        run: The run that stands for all: the one whose total is their median. `None` when there is none.
        findings: Why it could not be measured; empty when it was.
    """

    __slots__ = ("findings", "row", "run")

    def __init__(self, row: Row, run: Run | None, findings: Sequence[Finding] = ()) -> None:
        self.row = row
        self.run = run
        self.findings = list(findings)

    @property
    def total(self) -> float:
        """Seconds of all stages; none where it could not be measured."""
        return self.run.total if self.run else 0.0

    def to_dict(self) -> dict[str, object]:
        """Returns the profile, for JSON."""
        run = self.run
        return {
            "name": self.row.name,
            "distribution": self.row.distribution,
            "version": self.row.version,
            "entry_point": self.row.entry_point,
            "total_ms": milliseconds(run.total) if run else None,
            "stages": {stage: self._stage(run, stage) for stage in STAGES} if run else None,
            "modules": run.modules if run else None,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def _stage(self, run: Run, stage: Stage) -> dict[str, object]:
        return {
            "ms": milliseconds(run.seconds[stage]),
            "imports": [module.to_dict() for module in run.imports[stage]],
        }


def milliseconds(seconds: float) -> float:
    """Returns a time as it is told."""
    return round(seconds * 1000, 3)


def measure(
    rows: Sequence[Row],
    configuration: Configuration,
    *,
    repeat: int = 3,
    seconds: float = 60.0,
    advance: Callable[[], None] = lambda: None,
) -> list[Profile]:
    """Returns what the start of each plugin costs, the slowest first; those that could not be measured are last.

    One process runs at a time, and all plugins have had their turn before any has its next: what disturbs the machine
    for a while does not fall on one alone.

    Args:
        rows: The plugins; one that may not run is not started.
        configuration: What is set. Without an API, what an entry point names is imported and not called.
        repeat: How often each is started.
        seconds: The deadline of one start; then the process is killed.
        advance: Is called after each start that was to be made.
    """
    runs: list[list[Run]] = [[] for _ in rows]
    failed = [_refusal(row) for row in rows]
    for _ in range(repeat):
        for number, row in enumerate(rows):
            if not failed[number]:
                found = _start(row, configuration, seconds)
                if isinstance(found, Run):
                    runs[number].append(found)
                else:
                    failed[number] = found
            advance()
    profiles = [
        Profile(row, None if failed[number] else _median(runs[number]), failed[number])
        for number, row in enumerate(rows)
    ]
    return sorted(profiles, key=lambda profile: (profile.run is None, -profile.total))


def _refusal(row: Row) -> list[Finding]:
    """Returns what is said against a plugin before anything of it runs; nothing when it may run."""
    try:
        row.require_ready()
    except PluginRefused as exc:
        return [exc.finding, *exc.more]
    return []


def _median(runs: Sequence[Run]) -> Run:
    median = statistics.median_low(run.total for run in runs)
    return next(run for run in runs if run.total == median)


def _start(row: Row, configuration: Configuration, seconds: float) -> Run | list[Finding]:
    """Returns what one start of a plugin took, in a process of its own, or why it failed."""
    nonce, started = secrets.token_hex(16), time.monotonic()
    deadline = started + seconds
    job: Job = {
        "path": [entry for entry in sys.path if type(entry) is str],
        "nonce": nonce,
        "configuration": pickle.dumps(configuration),
        "plugin": (row.name, row.distribution),
        "until": started + seconds * 0.9,
    }
    try:
        process = Child("stopwatch", {**job}, _Answer, _STDERR_LIMIT, ["-X", "importtime"])
    except (OSError, ValueError) as exc:
        return [_lost(row, "profile-crashed", f"its process cannot be started: {exc}")]
    try:
        last = process.last_answer(deadline)
        is_done = last is not None and last.is_last
        left = max(0.05, deadline - time.monotonic())
        has_ended = process.wait(min(_END_SECONDS, left) if is_done else left)
    finally:
        process.kill()
    if last is None or not last.is_last:
        where = _WHERE[last.reached if last else ""]
        words = last_words(_of_others(process.stderr, nonce))
        if has_ended:
            return [_lost(row, "profile-crashed", f"{where} ended the process, with {process.status()}: {words}")]
        return [_lost(row, "profile-hung", f"{where} did not come to an end in {seconds:g} s: {words}")]
    if last.findings:
        return [Finding(*plain) for plain in last.findings]
    spent: dict[Stage, float] = {stage: max(0, last.nanoseconds.get(stage, 0)) / 1e9 for stage in STAGES}
    return Run(spent, last.modules, _imports(process.stderr, nonce, row.candidate.module, spent))


_WHERE: Final = {"": "what comes before its import", "import": "its import", "new": "its factory", "init": "its init"}


def _imports(stderr: bytes, nonce: str, module: str, seconds: Mapping[Stage, float]) -> dict[Stage, list[Module]]:
    """Returns what was imported in each stage."""
    texts = dict.fromkeys(STAGES, b"")
    for stage, text in _stretches(stderr, nonce):
        texts[stage] += text
    return {
        stage: importtime.read(texts[stage], module if stage == "import" else "", round(seconds[stage] * 1e6))
        for stage in STAGES
    }


def _stretches(stderr: bytes, nonce: str) -> Iterator[tuple[Stage, bytes]]:
    """Yields what was written to standard error in each stretch of a stage's time."""
    _, *parts = re.split(rb"\n%s (import|new|init|other)\n" % nonce.encode(), stderr)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        for stage in STAGES:
            if name == stage.encode():
                yield stage, text


def _of_others(stderr: bytes, nonce: str) -> bytes:
    """Returns what was written to standard error by others than Python's import and the stopwatch."""
    lines = importtime.without(stderr).splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(nonce.encode()))


def _lost(row: Row, code: str, what: str) -> Finding:
    hint = f"tell the author of {row.distribution}, or uninstall it: pip uninstall {row.distribution}"
    if code == "profile-hung":
        hint = f"--timeout gives it longer; else {hint}"
    return Finding(code, f"{row.candidate}: {what}", hint, row.candidate.distribution.info)
