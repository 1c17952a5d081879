"""A plugin's first load, in a process that may be lost: hangs, crashes and exits become findings."""

from __future__ import annotations

import pickle
import secrets
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from pluginhost import verdicts
from pluginhost.child import Answer, Child, last_words
from pluginhost.errors import Finding, PluginProbeError
from pluginhost.index import path_with

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Final

    from pluginhost.survey import Candidate
    from pluginhost.throwaway import Job

Reached: TypeAlias = Literal["registered", "imported", "made", "usable"]
"""The stages of a first load: found in the metadata, its module imported, its factory called, of its contracts."""

_STDERR_LIMIT: Final = 16 << 10
_END_SECONDS: Final = 5.0
"""What a process may take to end once the plugin is loaded: exit functions run, threads are waited for."""


class _Answer(Answer):
    """What the throw-away process tells."""

    reached: Reached = "registered"
    missing: str = ""
    findings: list[tuple[str, str, str, str, Literal["error", "warning"], str]] = msgspec.field(default_factory=list)
    habits: list[tuple[str, str]] = msgspec.field(default_factory=list)
    schema: dict[str, object] | None = None


class Report:
    """What a first load showed.

    Attributes:
        reached: The last stage that went well.
        findings: What went wrong, and what is told; what the host would not survive is of the stage `probe`.
        missing: The module whose absence failed the import; empty when it was something else.
        schema: That of the type that it declares for its configuration; `None` when that was not asked, or it has none.
        habits: What the plugin's own code did at import or in its factory that belongs into `init`.
        seconds: What it took.
    """

    __slots__ = ("findings", "habits", "missing", "reached", "schema", "seconds")

    def __init__(self) -> None:
        self.reached: Reached = "registered"
        self.findings: list[Finding] = []
        self.missing = ""
        self.habits: list[tuple[str, str]] = []
        self.schema: dict[str, object] | None = None
        self.seconds = 0.0


def verdict(
    candidate: Candidate, made_of: str, api: str | None, contracts: Collection[str], *, seconds: float
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
    candidate: Candidate,
    api: str | None,
    contracts: Collection[str],
    *,
    seconds: float,
    makes: bool = True,
    configs: Sequence[tuple[str, Mapping[str, object]]] | None = None,
) -> Report:
    """Returns what a plugin's import and its `New()` showed in a process of their own.

    Args:
        candidate: What was admitted.
        api: The import name of the API package; `None` when there is none.
        contracts: The names of the contracts that the plugin must implement.
        seconds: The deadline; then the process is killed.
        makes: Whether the factory is called; entry points of other groups may name anything.
        configs: What is held, each with its path, against the type that the plugin declares; its faults are among the
            findings. When there are none, the report has the schema of that type.

    Raises:
        PluginProbeError: No process could be started, or it failed before it came to the plugin.
    """
    started = time.monotonic()
    of = candidate.distribution
    job: Job = {
        "path": path_with(of.origin),
        "nonce": secrets.token_hex(16),
        "entry": (candidate.group, candidate.name, candidate.value),
        "distribution": (of.name, of.version, of.origin, of.info),
        "api": api,
        "contracts": list(contracts),
        "makes": makes,
        "configs": None if configs is None else pickle.dumps(list(configs)),
        "until": started + seconds * 0.9,
    }
    try:
        process = Child("throwaway", {**job}, _Answer, _STDERR_LIMIT)
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
        raise _failed(
            candidate, f"ended with {process.status()} before it came to the plugin: {last_words(process.stderr)}"
        )
    report.reached, report.missing = last.reached, last.missing
    report.habits, report.schema = last.habits, last.schema
    report.findings = [Finding(*plain) for plain in last.findings]
    if not is_done:
        report.findings.append(_lost(candidate, process, report.reached, has_ended, seconds))
    elif not has_ended or process.code != 0:
        report.findings.append(_disturbed(candidate, process, has_ended, seconds))
    report.seconds = time.monotonic() - started
    return report


def _lost(candidate: Candidate, process: Child[_Answer], reached: str, has_ended: bool, seconds: float) -> Finding:
    what = f"calling {candidate.factory}()" if reached == "imported" else f"importing {candidate.module}"
    if has_ended:
        message = f"{what} ended the process, with {process.status()}"
    else:
        message = f"{what} did not come to an end in {seconds:g} s"
    return Finding(
        "probe-crashed" if has_ended else "probe-hung",
        f"{candidate}: {message}: {last_words(process.stderr)}",
        _hint(candidate),
        candidate.distribution.info,
    )


def _disturbed(candidate: Candidate, process: Child[_Answer], has_ended: bool, seconds: float) -> Finding:
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
