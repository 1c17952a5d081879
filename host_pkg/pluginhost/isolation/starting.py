"""How a child comes to serve: a process is started, is of the host's kind, and makes the plugin."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pluginhost.catalogue import CODES
from pluginhost.errors import (
    ConfigurationError,
    Finding,
    PluginCallError,
    PluginFactoryError,
    PluginHostError,
    PluginImportError,
    PluginLoadError,
    PluginLookupError,
    PluginTypeError,
    RemoteFailure,
)
from pluginhost.isolation import frames, handshake
from pluginhost.isolation.children import START_SECONDS
from pluginhost.isolation.codec import codec_of
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import EMPTY, FAILED
from pluginhost.isolation.plugins import PluginChild
from pluginhost.isolation.reports import Refusal, Report
from pluginhost.isolation.supervision import why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pluginhost.events import About
    from pluginhost.isolation.frames import Frame
    from pluginhost.isolation.spawning import Nursery
    from pluginhost.isolation.system import System
    from pluginhost.loading import Watched
    from pluginhost.settings import PluginSettings
    from pluginhost.survey import Candidate


class Spec(NamedTuple):
    """What is needed to start a child of one plugin, and again.

    Attributes:
        candidate: What was admitted.
        about: Which plugin it is, or which instance of one.
        contracts: The host's contracts by name.
        settings: What is set for the plugin.
        job: What each child is told.
        host: What the host is: what each child must be.
        system: What the operating system offers.
        nursery: Who starts children.
        hear: Called with what a child writes, and whether it was to standard error.
        known: The exceptions that arrive as themselves.
    """

    candidate: Candidate
    about: About
    contracts: Mapping[str, type]
    settings: PluginSettings
    job: Mapping[str, object]
    host: handshake.Identity
    system: System
    nursery: Nursery
    hear: Callable[[bool, str], None]
    known: tuple[type[BaseException], ...]


class Start:
    """How each child of one plugin comes to be.

    Attributes:
        report: What the first of them said of the plugin.
        codec: How the calls of the plugin's contracts cross; of none before the first.
    """

    report: Report

    def __init__(self, of: Spec) -> None:
        """Makes it; nothing is started.

        Args:
            of: The plugin, and what its processes are started with.
        """
        self.codec = codec_of()
        self._of = of
        self._has_begun = False

    def __call__(
        self,
        born: Callable[[PluginChild], None],
        watched: Watched | None = None,
        reached: Callable[[], object] = int,
    ) -> PluginChild:
        """Returns a child that has made the plugin.

        Args:
            born: Told of the child as soon as there is one.
            watched: Called with `import` and with `new`: returns what watches how long it takes.
            reached: Called between the two.

        Raises:
            PluginHostError: As where the plugin is loaded into this process; or its process did not come to serve, is
                not of the host's kind, or is of another than the first was; and has ended.
        """
        of, watched, peer = self._of, watched or _unwatched, f"the process of {self._of.about.text}"
        try:
            child = PluginChild(of.system, of.nursery, of.job, peer, of.hear, of.contracts, of.known)
        except (OSError, ValueError, PluginCallError) as exc:
            raise _not_started(of, exc) from exc
        try:
            born(child)
            said = _made(of, child, frames.HELLO, "its start", START_SECONDS)
            handshake.require_same(of.host, said, of.candidate)
            with watched("import"):
                _made(of, child, frames.IMPORT, f"the import of {of.candidate.module}", of.settings.import_timeout)
            reached()
            with watched("new"):
                said = _made(of, child, frames.NEW, f"{of.candidate.factory}()", of.settings.new_timeout)
            self._require_same(_report(of, said))
        except BaseException:
            child.kill("the plugin was not made")
            child.end()
            raise
        return child

    def _require_same(self, report: Report) -> None:
        """Returns if a child makes the same messages of the plugin's contracts as this process, and as the first did.

        Raises:
            PluginLoadError: It does not.
        """
        if not self._has_begun:
            self.report, self._has_begun = report, True
            self.codec = codec_of(*(self._of.contracts[name] for name in report.contracts))
        handshake.require_same_contracts(self.codec, report.digest, self._of.candidate)


def _made(of: Spec, child: PluginChild, operation: int, what: str, seconds: float) -> bytes:
    """Returns what a child says when it has come a step further; one that takes too long is killed.

    Who watches the step tells of that; else the next step finds the child gone.
    """
    try:
        frame = child.ask(operation, EMPTY, seconds)
    except PluginCallError as exc:
        if exc.finding.code != "call-timeout":
            raise _not_started(of, exc) from exc
        child.kill(f"{what} took longer than {seconds:g} s")
        return b""
    if frame.flags & FAILED:
        raise _refused(of, frame)
    return frame.meta or frame.body


def _not_started(of: Spec, exc: Exception) -> PluginLoadError:
    candidate = of.candidate
    hint = f"see what it last said; pluginhost doctor {candidate.name} loads it in a process of its own"
    return PluginLoadError(Finding("child-failed", f"{candidate}: {why(exc)}", hint, candidate.distribution.info))


def _report(of: Spec, data: bytes) -> Report:
    try:
        report = _REPORT(data)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise _not_started(of, frames.malformed(f"its report of the plugin cannot be read: {exc}")) from exc
    if any(name not in of.contracts for name in report.contracts) or not report.contracts:
        raise _not_started(of, frames.malformed(f"it reports the contracts {report.contracts}"))
    return report


def _refused(of: Spec, frame: Frame) -> PluginHostError:
    """Returns the error with which a plugin could not be made, as it would be in this process."""
    try:
        refusal = _REFUSAL(frame.meta or frame.body)
    except (msgspec.MsgspecError, ValueError):
        failure = Failure.unpack(frame)
        return _not_started(of, frames.error("channel-lost", failure.message, ""))
    found = [Finding(*plain) for plain in refusal.findings if plain[0] in CODES]
    if not found:
        return _not_started(of, frames.malformed("it refuses without saying why"))
    kind = _ERRORS.get(CODES[found[0].code].stage)
    error = (kind if kind and found[0].code != "config-wrong" else ConfigurationError)(*found)
    if refusal.traceback:
        error.__cause__ = RemoteFailure(found[0].code, found[0].message, traceback=refusal.traceback)
    return error


@contextlib.contextmanager
def _unwatched(stage: str) -> Iterator[None]:
    yield


_ERRORS: Final[dict[str, type[PluginHostError]]] = {
    "import": PluginImportError,
    "lookup": PluginLookupError,
    "new": PluginFactoryError,
    "type": PluginTypeError,
}
_REPORT: Final = msgspec.msgpack.Decoder(Report).decode
_REFUSAL: Final = msgspec.msgpack.Decoder(Refusal).decode
