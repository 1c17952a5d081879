"""The manager: what an application embeds to survey, get and shut down its plugins."""

import sys
from _thread import RLock  # threading itself is an import more

from pluginhost.errors import Finding, ManagerClosed, PluginHostError, PluginNotFound
from pluginhost.index import Index, absolute, search_path
from pluginhost.survey import Row, Survey

# `typing`, `__future__` and `logging` are not imported on the road of a survey, and neither is what loads plugins: each
# costs as much as a part of the survey itself. Annotations are quoted where they must be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Self, TypeVar

    from typing_extensions import TypeForm

    from pluginapi import Plugin
    from pluginhost.config import PluginSettings, When
    from pluginhost.lifecycle import Handle

    P = TypeVar("P", bound=Plugin)


class PluginManager:
    """The plugins of one entry-point group, held to one API.

    As a context manager it shuts its plugins down on leaving, in the reverse order of their start.
    """

    def __init__(
        self,
        group: str = "pluginhost.plugins",
        api: str | None = "pluginapi",
        *,
        plugins: "Mapping[str, Mapping[str, object]] | None" = None,
        plugin_dirs: "Sequence[str | PathLike[str]]" = (),
        probe: "When" = "new",
        probe_timeout: float = 20.0,
    ) -> None:
        """Makes a manager; nothing is searched or imported yet.

        Args:
            group: The entry-point group under which plugins register.
            api: The import name of the API package that host and plugins share; `None` for a group that has none.
            plugins: By plugin name, its settings: `enabled` (true or false), `config` (a table for its `init`) and
                `distribution` (whose plugin is meant, where several share the name).
            plugin_dirs: Folders of wheels, each of which is a plugin or what plugins need; what is installed comes
                before them.
            probe: When a plugin's first load is tried in a process that may be lost: `new`, once for each content of
                its files; `always`, each time that this process loads it; `never`.
            probe_timeout: Seconds that such a first load may take.

        Raises:
            ConfigurationError: A setting is unknown or of the wrong type.
        """
        self.group = group
        self.api = api
        self.probe = probe
        self.probe_timeout = probe_timeout
        if probe != "new" or probe_timeout != 20.0:
            from pluginhost.config import require_probe

            require_probe(probe, probe_timeout)
        self._settings: dict[str, PluginSettings] = {}
        if plugins:
            from pluginhost.config import plugin_settings

            self._settings = plugin_settings(plugins)
        self._plugin_dirs: list[str] = []
        if plugin_dirs:
            from pluginhost.config import folders

            self._plugin_dirs = absolute(folders(plugin_dirs))
        self._handles: dict[tuple[str, str], Handle] = {}  # by plugin and distribution, in the order of their start
        self._named: dict[str, Handle] = {}  # the same, by the names under which they were asked for
        self._path: list[str] = []  # what the last survey says of wheels
        self._failures: dict[tuple[str, str], PluginHostError] = {}
        self._logged: set[Finding] = set()
        self._closed = False
        self._lock = RLock()

    def survey(self) -> "Survey":
        """Returns a row for each installed plugin, and what is wrong with distributions; imports none of them."""
        stored = Index(self.group, self.api, self._plugin_dirs)
        known = stored.load()
        if known is not None:
            survey = Survey.from_plain(known)
        else:
            from pluginhost import admission, discovery  # what the index answers does without them

            dirs = None
            if self._plugin_dirs:
                from pluginhost.plugin_dirs import PluginDirs

                dirs = PluginDirs(self._plugin_dirs, self.api)
            found = discovery.discover(self.group, self.api, unpacked=dirs.path if dirs else ())
            survey = admission.admit(found, self.api)
            if dirs:
                dirs.complete(found, survey)
            stored.store(found.seen, survey.to_plain())
        self._path = survey.path
        if self._settings:
            self._apply_settings(survey)
        return survey

    def row(self, name: str) -> "Row":
        """Returns a plugin's row of the survey.

        Args:
            name: The plugin's name; `NAME@DISTRIBUTION` picks one of several that share the name.

        Raises:
            PluginNotFound: No installed plugin has that name; the error names the nearest.
        """
        survey = self.survey()
        plugin, _, distribution = name.partition("@")
        for row in survey:
            if row.name == plugin and distribution in ("", row.distribution):
                if distribution:
                    row.pick()
                return row
        if distribution:
            raise self._not_found(name, [f"{row.name}@{row.distribution}" for row in survey])
        raise self._not_found(name, [row.name for row in survey])

    def survey_wheel(self, wheel: str) -> "Survey":
        """Returns the survey of a wheel file's plugins, judged by what is installed here; its findings are the file's.

        Args:
            wheel: The path of a `.whl`; nothing of it is installed or imported.

        Raises:
            OSError: It is not a regular file that can be read.
        """
        from pluginhost import admission, discovery, plugin_dirs, wheels

        with plugin_dirs.open_regular(wheel) as file:
            checked = wheels.check(file, wheel, self.api, search_path())
        found = discovery.discover(self.group, self.api)
        inside = discovery.discover(self.group, path=[wheel] if checked.info else [])
        found.candidates = inside.candidates
        survey = admission.admit(found, self.api)
        told = {finding.code for row in survey for finding in row.findings}
        survey.findings = [each for each in (*checked.findings, *inside.findings) if each.code not in told]
        return survey

    def get(self, name: str, contract: "TypeForm[P]") -> "P":
        """Returns a plugin, started at the first call and the same object each time.

        Args:
            name: The plugin's name; `NAME@DISTRIBUTION` picks one of several that share the name.
            contract: The contract that it must implement, such as `Greeter`.

        Raises:
            PluginNotFound: No installed plugin has that name.
            PluginRefused: Admission said no.
            PluginLoadError: It could not be made, or endangers the host; a failure is remembered, and raised again
                at the next call.
            PluginInitError: Its `init` raised.
            ManagerClosed: The manager has shut down.
        """
        return self.handle(name).require(contract)

    def handle(self, name: str) -> "Handle":
        """Returns the handle of a plugin, started at the first call.

        Args:
            name: The plugin's name.

        Raises:
            PluginHostError: As for `get`.
        """
        with self._lock:
            self._require_open()
            handle = self._named.get(name)
            if handle is None:
                handle = self._named[name] = self._handle(self.row(name))
            return handle

    def all(self, contract: "TypeForm[P]") -> "dict[str, P]":
        """Returns every plugin that implements a contract, by name; what fails is logged and left out.

        Args:
            contract: The contract, such as `Greeter`.

        Raises:
            ManagerClosed: The manager has shut down.
        """
        with self._lock:
            self._require_open()
            contracts = self._contracts()
            found: dict[str, P] = {}
            for row in self.survey():
                if row.state == "disabled" or not _may_implement(row, contract, contracts):
                    continue
                try:
                    handle = self._handle(row)
                except PluginHostError:
                    continue  # logged where it arose
                if handle.implements(contract):
                    found[row.name] = handle.require(contract)
            return found

    def close(self) -> None:
        """Shuts down what was started, in reverse order; what fails is logged. A second call does nothing."""
        from pluginhost.interrupts import told_apart

        with self._lock, told_apart():
            self._closed = True
            self._named.clear()
            while self._handles:
                _, handle = self._handles.popitem()
                try:
                    handle.stop()
                except PluginHostError as exc:
                    self._log(exc.finding)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.close()

    def _apply_settings(self, survey: "Survey") -> None:
        for row in survey:
            if settings := self._settings.get(row.name):
                row.enabled = settings.enabled
                if settings.distribution == row.distribution:
                    row.pick()

    def _handle(self, row: "Row") -> "Handle":
        running = self._handles.get((row.name, row.distribution)) if row.state == "ready" else None
        return running or self._start(row)

    def _start(self, row: "Row") -> "Handle":
        """Takes a candidate the whole way: admitted, tried, loaded, initialised, held."""
        identity = row.name, row.distribution
        if identity in self._failures:
            raise self._failures[identity].with_traceback(None)
        contracts = self._contracts()
        try:
            row.require_ready()
            handle = self._handles[identity] = self._make(row, contracts)
        except PluginHostError as exc:
            if row.state == "ready":  # what was only refused may be mended while the host runs
                self._failures[identity] = exc
            for finding in (exc.finding, *exc.more):
                self._log(finding)
            raise
        return handle

    def _make(self, row: "Row", contracts: dict[str, type]) -> "Handle":
        """Returns the handle of an admitted plugin, initialised; what it did on the way is logged."""
        from pluginhost import identity, interrupts, lifecycle, loading

        if self._path:
            from pluginhost import store

            store.put_on_path(self._path, row.candidate)
        wanted, settings = _wanted(row, contracts), self._settings.get(row.name)
        version = identity.api_version(self.api)
        with interrupts.told_apart():
            told = self._probed(row, wanted)
            loaded = loading.load(row.candidate, list(wanted.values()), list(contracts.values()), version)
            for other in self._handles.values():
                lifecycle.require_own(loaded, other)
            handle = lifecycle.start(loaded, settings.config if settings else {})
        for warning in (*told, *loaded.findings):
            self._log(warning)
        return handle

    def _probed(self, row: "Row", wanted: "Collection[str]") -> "list[Finding]":
        """Returns what a plugin's first load, in a process that may be lost, tells of it."""
        # A plugin that has a host of its own would be loaded by the throw-away process of a throw-away process.
        if self.probe == "never" or "pluginhost.throwaway" in "".join(sys.orig_argv[-1:]):
            return []
        from pluginhost import verdicts

        made_of = verdicts.content(row.candidate.distribution)
        found = verdicts.recall(row.candidate, made_of) if self.probe == "new" else None
        if found is None:
            from pluginhost import probe  # a known plugin does without

            found = probe.verdict(row.candidate, made_of, self.api, wanted, seconds=self.probe_timeout)
        verdicts.require_harmless(found)
        return found

    def _contracts(self) -> dict[str, type]:
        from pluginhost import identity

        return identity.import_contracts(self.api)

    def _require_open(self) -> None:
        if self._closed:
            raise ManagerClosed(Finding("manager-closed", "the manager has shut down", "make a new PluginManager"))

    def _not_found(self, name: str, names: list[str]) -> "PluginNotFound":
        import difflib

        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        there = (
            f"there are {', '.join(sorted(set(names)))}" if names else f"install one that registers under {self.group}"
        )
        return PluginNotFound(
            Finding(
                "plugin-unknown",
                f"no installed plugin of the group {self.group!r} is called {name!r}",
                f"did you mean {' or '.join(near)}?" if near else there,
            )
        )

    def _log(self, finding: "Finding") -> None:
        """Logs a finding, once."""
        import logging

        if finding not in self._logged:
            self._logged.add(finding)
            logger = logging.getLogger("pluginhost")
            if not logger.handlers:  # a library prints nothing unless the application sets logging up
                logger.addHandler(logging.NullHandler())
            level = logging.ERROR if finding.severity == "error" else logging.WARNING
            extra = {"code": finding.code, "stage": finding.stage}
            logger.log(level, "%s", finding, extra=extra)


def _wanted(row: "Row", contracts: dict[str, type]) -> dict[str, type]:
    """Returns the contracts that a plugin must implement: the base of all, and those that its manifest names."""
    return {name: contracts[name] for name in ("Plugin", *(row.contracts or ())) if name in contracts}


def _may_implement(row: "Row", contract: object, contracts: dict[str, type]) -> bool:
    """Returns whether a manifest names a contract, or one derived from it, or does not tell."""
    if row.contracts is None:
        return True
    named = [contracts.get(name) for name in (*row.contracts, "Plugin")]
    return any(cls is None or contract in cls.__mro__ for cls in named)
