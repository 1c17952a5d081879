"""The way from an admitted candidate that is a program to an object of its contracts, whose calls that answers."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from pluginhost.errors import Finding, GoPluginError, PluginLoadError, PluginTypeError
from pluginhost.goplugin import programs, remote
from pluginhost.goplugin.children import ProgramChild
from pluginhost.goplugin.handshake import HandshakeConfig
from pluginhost.goplugin.looping import LoopThread
from pluginhost.goplugin.proto import file_of
from pluginhost.identity import api_version
from pluginhost.isolation import system
from pluginhost.isolation.supervision import Supervisor
from pluginhost.loading import Loaded
from pluginhost.settings import PluginSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pluginhost.goplugin.logs import Logger
    from pluginhost.goplugin.proto import Description
    from pluginhost.isolation.supervision import Reports
    from pluginhost.loading import Source, Watched
    from pluginhost.settings import Limits
    from pluginhost.survey import Candidate
    from pluginhost.watchdog import Watchdog


def load(
    candidate: Candidate,
    contracts: Collection[type],
    api: str | None,
    source: Source,
    settings: PluginSettings,
    *,
    is_older: bool,
    loop: LoopThread,
    dog: Watchdog,
    reports: Reports,
    log: Logger,
    reached: Callable[[], None],
) -> Loaded:
    """Returns an admitted candidate's plugin, which a program serves that was started, and is not yet initialised.

    Args:
        candidate: What was admitted.
        contracts: The host's contracts that it must implement.
        api: The import name of the API package.
        source: What else is known of it.
        settings: What is set for it.
        is_older: Whether it was built for an earlier minor version of the API.
        loop: Where its connections are looked after.
        dog: Who looks whether its program lives.
        reports: Who is told what of it.
        log: What takes the lines that it writes.
        reached: Called once its program serves.

    Raises:
        ConfigurationError: A contract has something for which there is nothing in protobuf.
        PluginLoadError: The program does not come to serve, or serves another contract or one of another API.
        PluginTypeError: It can do other things than its manifest says.
    """
    peer = f"the process of {reports.about.text}"
    start = _Start(candidate, contracts, api, source.capabilities, settings, loop, peer, log)
    supervisor = Supervisor(candidate, settings, reports, dog, start)
    supervisor.load(reached=reached)
    plugin = remote.make(tuple(start.contracts), candidate.name, supervisor)
    loaded = Loaded(candidate, None, plugin, [])
    loaded.capabilities = start.capabilities
    loaded.built_against = source.built_against if is_older else ""
    loaded.end = supervisor.end
    return loaded


def first_load(
    candidate: Candidate, contracts: Collection[type], api: str | None, stamped: list[str] | None, *, seconds: float
) -> None:
    """Returns if a candidate's program comes to serve its contracts; then it is ended.

    Args:
        candidate: What was admitted.
        contracts: As for `load`, which raises the same.
        api: As for `load`.
        stamped: The capabilities that its manifest has; `None` when it has no manifest.
        seconds: Until it has to serve.
    """
    loop, silent = LoopThread(), logging.Logger(candidate.name, logging.CRITICAL + 1)
    settings, peer = PluginSettings(new_timeout=seconds), f"the process of {candidate}"
    try:
        _Start(candidate, contracts, api, stamped, settings, loop, peer, silent)(lambda _: None).end()
    finally:
        loop.close()


class _Start:
    """How each process of one program comes to be.

    Attributes:
        contracts: Those that it must serve, without those from which others of them derive.
        capabilities: What the first of them said that it can do beyond its contracts.
    """

    def __init__(
        self,
        candidate: Candidate,
        contracts: Collection[type],
        api: str | None,
        stamped: list[str] | None,
        settings: PluginSettings,
        loop: LoopThread,
        peer: str,
        log: Logger,
    ) -> None:
        assert api is not None, "a program in a group without an API is refused"  # by admission
        self.contracts = [
            each for each in contracts if not any(other is not each and issubclass(other, each) for other in contracts)
        ]
        for contract in self.contracts:
            file_of(contract)  # what cannot cross is refused before anything is started
        self.capabilities: frozenset[str] = frozenset()
        self._candidate, self._peer, self._stamped = candidate, peer, stamped
        self._handshake = HandshakeConfig(programs.COOKIE_KEY, api, programs.protocol_version(api_version(api)))
        self._settings, self._loop, self._log = settings, loop, log
        self._limit = partial(_limit, settings.limits, log)

    def __call__(
        self,
        born: Callable[[ProgramChild], None],
        watched: Watched | None = None,
        reached: Callable[[], object] = int,
    ) -> ProgramChild:
        """Returns a program that serves; as `supervision.Begin` has it."""
        candidate, seconds = self._candidate, self._settings.new_timeout
        if faults := list(programs.check(candidate)):
            raise PluginLoadError(*faults)
        child = ProgramChild(
            [programs.find(candidate)], self._handshake, candidate.name, self._peer,
            loop=self._loop, log=self._log, born=self._limit, start_timeout=seconds,
        )  # fmt: skip
        born(child)
        try:
            self._take(child.start(self.contracts))
        except BaseException as exc:
            child.kill("it did not come to serve")
            child.end()
            if isinstance(exc, GoPluginError):
                raise self._not_started(exc) from exc
            raise
        reached()
        return child

    def _take(self, said: Description) -> None:
        """Takes what a program says that it can do.

        Raises:
            PluginTypeError: It is something else than its manifest says.
        """
        stamped = frozenset(self._stamped or ())
        if said.capabilities and self._stamped is not None and frozenset(said.capabilities) != stamped:
            there, here = (", ".join(sorted(each)) or "none" for each in (said.capabilities, stamped))
            what = f"{self._candidate}: its Capabilities are {there}, and its manifest says {here}"
            author = self._candidate.distribution.name
            hint = f"its author has Describe say the same as pyproject.toml, or nothing; tell the author of {author}"
            raise PluginTypeError(Finding("capabilities-wrong", what, hint, self._candidate.distribution.info))
        self.capabilities = frozenset(said.capabilities) or stamped

    def _not_started(self, exc: GoPluginError) -> PluginLoadError:
        found, candidate = exc.finding, self._candidate
        hint = found.hint
        if found.code == "handshake-late":
            hint = f"see what it last wrote; set new_timeout for {candidate.name} if it only needs more time"
        elif found.code == "certificate-wrong":
            hint = "its author has it do AutoMTLS, as go-plugin's `Serve` does when its host asks for it"
        elif found.code == "program-died":
            cookie = f"{programs.COOKIE_KEY}={self._handshake.cookie_value}"
            hint = f"see what it last wrote; it must take the magic cookie {cookie}"
        what = f"{candidate}: its program did not come to serve: {found.message}"
        return PluginLoadError(Finding(found.code, what, hint, candidate.distribution.info))


def _limit(limits: Limits, log: Logger, process: int) -> None:
    if not system.best().limit(limits.memory, limits.cpu, limits.files, process):
        log.warning("its limits are not held: this system has none for another process")
