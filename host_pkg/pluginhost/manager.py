"""The manager: what an application embeds to survey, get and shut down its plugins."""

from _thread import RLock, get_ident  # threading itself is an import more

from pluginhost.errors import Finding, PluginHostError, PluginStopped, wrong
from pluginhost.index import Index, absolute, search_path
from pluginhost.survey import Row, Survey

# `typing`, `__future__` and `logging` are not imported on the road of a survey, and neither is what loads plugins: each
# costs as much as a part of the survey itself. Annotations are quoted where they must be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from os import PathLike
    from pathlib import Path
    from types import EllipsisType, TracebackType
    from typing import Self, TypeVar

    from typing_extensions import TypeForm

    from pluginapi import Plugin
    from pluginhost.control import Control
    from pluginhost.entries import Entries, Entry
    from pluginhost.events import About, Listener
    from pluginhost.host import Kind
    from pluginhost.lifecycle import Handle
    from pluginhost.registered import Registered
    from pluginhost.registry import Registry
    from pluginhost.reload import Reloaded
    from pluginhost.routing import Routes
    from pluginhost.runner import Runner
    from pluginhost.settings import Configuration, InstanceSettings, Isolation, When
    from pluginhost.status import RouteStatus, Status
    from pluginhost.watching import Watcher

    P = TypeVar("P", bound=Plugin)


_AT_HAND = frozenset({"group", "api", "plugin_dirs"})
"""What a survey needs; where nothing else is set, it is as it stands, and no configuration is made for it."""


class PluginManager:
    """The plugins of one entry-point group, held to one API.

    As a context manager it shuts its plugins down on leaving, in the reverse order of their start.
    """

    def __init__(
        self,
        group: str | None = None,
        api: "str | EllipsisType | None" = ...,
        *,
        configuration: "str | PathLike[str] | Mapping[str, object] | None" = None,
        plugins: "Mapping[str, Mapping[str, object]] | None" = None,
        instances: "Mapping[str, Mapping[str, object]] | None" = None,
        capabilities: "Collection[str] | None" = None,
        plugin_dirs: "Sequence[str | PathLike[str]] | None" = None,
        probe: "When | None" = None,
        probe_timeout: float | None = None,
        shutdown_timeout: float | None = None,
        safe_mode: bool | None = None,
        allow: "Collection[str] | None" = None,
        routes: "Mapping[str, Mapping[str, object]] | None" = None,
        control: bool | None = None,
    ) -> None:
        """Makes a manager; nothing is searched or imported yet.

        What is left out is as the configuration has it, and else as told here. The settings of a plugin are those of
        `settings.PluginSettings`, those of an instance those of `settings.InstanceSettings`.

        Args:
            group: The entry-point group under which plugins register; `pluginhost.plugins`.
            api: The import name of the API package that host and plugins share; `None` for a group that has none;
                `pluginapi`.
            configuration: The path of a `pluginhost.toml`, or of a `pyproject.toml` with a table `[tool.pluginhost]`;
                or what such a file has in it.
            plugins: By plugin name, its settings, such as `enabled` (true or false), `config` (a table for its `init`)
                and `distribution` (whose plugin is meant, where several share the name).
            instances: By instance name, its settings: `plugin` (whose instance it is), and what may be set for a
                plugin. A plugin that has instances is run as these; by its own name it runs when it is asked for. One
                with a `wheel` is another version, which is run beside the plugin.
            capabilities: What the application offers to plugins, which may require it.
            plugin_dirs: Folders of wheels, each of which is a plugin or what plugins need; what is installed comes
                before them.
            probe: When a plugin's first load is tried in a process that may be lost: `new`, once for each content of
                its files; `always`, each time that this process loads it; `never`. It is `new`.
            probe_timeout: Seconds that such a first load may take; 20.
            shutdown_timeout: Seconds that `close` may take; 10. One plugin may take half of what is left of it, and
                half of that again for the calls that are inside.
            safe_mode: Whether no installed plugin is started, so that one that breaks the application can be found.
            allow: The plugins that may run, as `NAME` or `NAME@DISTRIBUTION`; all others are as if disabled.
            routes: By a route's name, which plugin serves it: `settings.RouteSettings`.
            control: Whether operators may act on the running application, through a socket of this user's alone. It is
                there from the first plugin that is asked for until `close`.

        Raises:
            ConfigurationError: A setting is unknown or of the wrong type, or the file cannot be read.
        """
        given: dict[str, object] = {
            "group": group,
            "plugins": plugins,
            "instances": instances,
            "capabilities": capabilities,
            "plugin_dirs": plugin_dirs,
            "probe": probe,
            "probe_timeout": probe_timeout,
            "shutdown_timeout": shutdown_timeout,
            "safe_mode": safe_mode,
            "allow": allow,
            "routes": routes,
            "control": control,
        }
        self._given = {name: value for name, value in given.items() if value is not None}
        if api is not ...:
            self._given["api"] = api
        self._configuration: Configuration | None = None
        self._trial: tuple[int, Configuration] | None = None  # what a thread tries before it holds for all
        self.group = group or "pluginhost.plugins"
        self.api = "pluginapi" if api is ... else api
        self._plugin_dirs = absolute(plugin_dirs or ())
        if configuration is not None or not _AT_HAND.issuperset(self._given):
            self._configuration = made = self._configured(configuration)
            self.group, self.api, self._plugin_dirs = made.group, made.api, made.plugin_dirs
        self.folder: Callable[[Kind], Path] | None = None  # in which plugins have theirs, in place of the user's
        self.registered: dict[str, Registered] = {}
        self._named: dict[str, Handle] = {}  # by the names under which they were asked for
        self._isolation: dict[str, Isolation] = {}  # where plugins were asked to run
        self.path: list[str] = []  # what the last survey says of wheels
        self._runner_made: Runner | None = None
        self._control: Control | None = None
        self._routes_made: Routes | None = None
        self._logged: set[Finding] = set()
        self._is_closed = False
        self._lock = RLock()
        self._apply_lock = RLock()
        self._is_reloading = False

    def _configured(self, configuration: "str | PathLike[str] | Mapping[str, object] | None") -> "Configuration":
        from pluginhost import config  # a survey does without

        return config.configuration(self._given, configuration)

    @property
    def configuration(self) -> "Configuration":
        """All that is set."""
        trial = self._trial
        if trial and trial[0] == get_ident():
            return trial[1]
        if self._configuration is None:
            from pluginhost.settings import Configuration

            self._configuration = Configuration(group=self.group, api=self.api, plugin_dirs=self._plugin_dirs)
        return self._configuration

    def survey(self) -> "Survey":
        """Returns a row for each installed plugin, and what is wrong with distributions; imports none of them."""
        survey = self._installed()
        self.path = survey.path
        for builtin in self.registered.values():
            builtin.join(survey, self.api)
        if self._configuration or self._trial:
            from pluginhost import entries

            entries.judge(survey, self.configuration)
        return survey

    def _installed(self) -> "Survey":
        """Returns the survey of what is installed alone."""
        folders = self.configuration.plugin_dirs if self._trial else self._plugin_dirs
        stored = Index(self.group, self.api, folders)
        known = stored.load()
        if known is not None:
            return Survey.from_plain(known)
        from pluginhost import admission, discovery  # what the index answers does without them

        dirs = None
        if folders:
            from pluginhost.plugin_dirs import PluginDirs

            dirs = PluginDirs(folders, self.api)
        found = discovery.discover(self.group, self.api, unpacked=dirs.path if dirs else ())
        survey = admission.admit(found, self.api)
        if dirs:
            dirs.complete(found, survey)
        stored.store(found.seen, survey.to_plain())
        return survey

    def row(self, name: str) -> "Row":
        """Returns a plugin's row of the survey.

        Args:
            name: The plugin's name; `NAME@DISTRIBUTION` picks one of several that share the name.

        Raises:
            PluginNotFound: No installed plugin has that name; the error names the nearest.
        """
        return self._entries().row(name)

    def _entries(self) -> "Entries":
        from pluginhost.entries import Entries

        return Entries(self.survey(), self.configuration, self._isolation, self._from_wheel)

    def _from_wheel(self, name: str, settings: "InstanceSettings") -> "Row":
        from pluginhost import versions  # most hosts have one version of each plugin

        return versions.row(name, settings, self.group, self.api, self.path)

    def versions(self) -> "dict[str, Row]":
        """Returns the rows of the instances that are from wheels of their own, by the instances' names.

        They are in no survey: that is of what is installed. A wheel that is new is unpacked; nothing is imported.
        """
        of = self._configuration
        return self._entries().versions() if of and any(each.wheel for each in of.instances.values()) else {}

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

    def get(
        self,
        name: str,
        contract: "TypeForm[P]",
        requires: "Collection[str]" = (),
        *,
        isolation: "Isolation | None" = None,
    ) -> "P":
        """Returns what stands for a plugin, started at the first call and the same object each time.

        Args:
            name: The plugin's name, or an instance's; `NAME@DISTRIBUTION` picks one of several that share the name.
            contract: The contract that it must implement, such as `Greeter`.
            requires: Capabilities that it must have.
            isolation: Where it runs, from now on and whatever is set for it: `process` for a process of its own, `none`
                for this one.

        Returns:
            A stub of the contract's type. What a call raises is a `PluginCallError`; a `pluginapi.PluginError` is the
            plugin's own word and comes as it is.

        Raises:
            PluginNotFound: No installed plugin has that name.
            PluginRefused: Admission said no, something that it requires is not there, or it lacks a capability.
            PluginLoadError: It could not be made, or endangers the host; a failure is remembered, and raised again
                at the next call.
            PluginInitError: Its `init` or `validate` raised.
            PluginStopped: It was stopped.
            ConfigurationError: It runs elsewhere already, or cannot be isolated, or must be.
            ManagerClosed: The manager has shut down.
        """
        handle = self.handle(name, isolation=isolation)
        if lacking := set(requires) - handle.capabilities:
            from pluginhost import dependencies

            raise dependencies.lacking(handle, lacking, self.survey())
        return handle.require(contract)

    def _ask_for(self, name: str, isolation: "Isolation") -> None:
        """Notes where a plugin is to run.

        Raises:
            ConfigurationError: It runs elsewhere, or must.
        """
        from pluginhost.entries import wheel_of

        if isolation not in ("none", "process"):
            raise wrong(f"isolation is {isolation!r}", "give 'process' or 'none'")
        entry = self.entry(name)
        if isolation == "none" and (wheel := wheel_of(entry.settings)):
            hint = "leave isolation out: one process cannot have two versions of a module"
            raise wrong(f"{name} is from {wheel}, and needs a process of its own", hint)
        if isolation == "none" and entry.row.candidate.program:
            raise wrong(f"{name} is a program, and needs a process of its own", "leave isolation out")
        handle = self._runner.registry.find(entry)
        settings = handle.settings if handle and handle.state == "running" else None
        if settings is not None and settings.isolation != isolation:
            where = "this process" if isolation == "process" else "a process of its own"
            raise wrong(f"{handle} runs in {where}", f"first: manager.unload({entry.name!r})")
        self._isolation = self._isolation | {entry.name: isolation}

    def handle(self, name: str, *, isolation: "Isolation | None" = None) -> "Handle":
        """Returns the handle of a plugin, started at the first call.

        Args:
            name: The plugin's name, or an instance's.
            isolation: As for `get`.

        Raises:
            PluginHostError: As for `get`.
        """
        if isolation is not None:
            self._ask_for(name, isolation)
        handle = self._named.get(name)
        if handle is None or handle.state != "running" or self._trial:
            handle = self._runner.serve(self.entry(name))
            self._named[name] = handle
        return handle

    def all(self, contract: "TypeForm[P]", requires: "Collection[str]" = ()) -> "dict[str, P]":
        """Returns every plugin that implements a contract, by name; what fails is logged and left out.

        Args:
            contract: The contract, such as `Greeter`.
            requires: Capabilities that they must have.

        Raises:
            ManagerClosed: The manager has shut down.
        """
        return {handle.name: handle.require(contract) for handle in self._runner.serving(contract, requires)}

    def route(self, contract: "TypeForm[P]", name: str | None = None) -> "P":
        """Returns what stands for whichever plugin serves: it decides at each call, and is the same object each time.

        It decides by what is set for the route, and by the `pluginhost.context` of the call. No plugin is started
        before a call goes to it.

        Args:
            contract: The contract that all of them implement, such as `Greeter`.
            name: The route's name, under which it is configured; the contract's.

        Raises:
            ConfigurationError: The route has another contract already, or what is set for it does not fit this one.
            ManagerClosed: The manager has shut down.
        """
        self._runner.require_open()
        return self._routes.get(contract, name, self.configuration.routes)

    def routes(self) -> "dict[str, RouteStatus]":
        """Returns how each route is that was asked for, by name."""
        return self._routes_made.status() if self._routes_made else {}

    def reroute(self, name: str, changes: "Mapping[str, object]") -> None:
        """Has a route decide otherwise, from its next call on until its configuration changes.

        Args:
            name: The route's name.
            changes: What is set of `settings.RouteSettings`; what is left out stays, in tables such as `weights`, too.

        Raises:
            ConfigurationError: There is no such route, or a value is wrong. Nothing is changed.
        """
        self._routes.change(name, changes)

    def settle(self, name: str, *, is_good: bool) -> None:
        """Ends the trial of a route's canary.

        Args:
            name: The route's name.
            is_good: Whether it serves all calls from now on, or none.

        Raises:
            ConfigurationError: There is no such route, or it has no canary.
        """
        self._routes.settle(name, is_good=is_good)

    def load_all(self) -> None:
        """Starts every plugin that is not disabled or stopped, those first that others require.

        Raises:
            PluginsFailed: Some did not start; it has the error of each. The others run.
            ManagerClosed: The manager has shut down.
        """
        errors = {}
        for entry in self.entries():
            try:
                if entry.barred is None:
                    self._runner.serve(entry)
            except PluginStopped:
                continue
            except PluginHostError as exc:
                errors[entry.name] = exc
        if errors:
            from pluginhost.errors import PluginsFailed

            raise PluginsFailed(errors)

    def start(self, name: str) -> None:
        """Starts a plugin, also one that was stopped or has failed; one that runs goes on.

        If its files have changed since it ran, it is imported anew, and what runs of its wheel is reloaded with it.

        Args:
            name: The plugin's name, or an instance's.

        Raises:
            PluginHostError: As for `get`.
        """
        entry = self.entry(name)
        handle = self._runner.registry.find(entry)
        if handle is not None and handle.state in ("stopped", "failed"):
            from pluginhost import intact

            of, ran = entry.row.candidate.distribution, handle.candidate.distribution
            if ran.info != of.info or handle.made_of != intact.content(of):  # the first after a rollback
                self.reload(name)
                return
        self._runner.serve(entry, anew=True)

    def stop(self, name: str) -> None:
        """Stops a plugin that runs, and before it those that use it; what fails is logged. It stays so until `start`.

        Calls that are inside may end; stubs refuse others with `PluginStopped` until it is started again.

        Args:
            name: The plugin's name, or an instance's.

        Raises:
            PluginNotFound: No plugin has that name.
        """
        handle = self._runner.registry.find(self.entry(name))
        if handle:
            self._runner.stop(handle)

    def unload(self, name: str) -> "list[Finding]":
        """Stops a plugin and drops its modules; the next `get` imports them anew.

        Args:
            name: The plugin's name, or an instance's.

        Returns:
            Nothing when the plugin's class is gone, which is proved by a weak reference; else who holds it.

        Raises:
            PluginNotFound: No plugin has that name.
        """
        from pluginhost import unloading
        from pluginhost.entries import wheel_of

        entry = self.entry(name)
        handle = self._runner.registry.find(entry)
        if handle is None:
            return []
        self._runner.stop(handle, forgets=True)
        self._named = {asked: other for asked, other in self._named.items() if other is not handle}
        # What is from a wheel was never imported here, nor what has not been started.
        here = [each for each in self._runner.registry.known() if each.settings and not wheel_of(each.settings)]
        is_here = bool(entry.row.candidate.distribution.info) and not wheel_of(entry.settings)
        found = unloading.drop(handle, here) if is_here else []
        for finding in found:
            self.tell(finding, handle.about)
        return found

    def reload(self, name: str, *others: str) -> "Reloaded":
        """Has plugins that run served by what is installed now, without a dropped call.

        What is installed is verified, tried if it is new, imported anew, and started beside what serves; then calls go
        to it, and the generation before is shut down once the calls inside have returned. With a plugin go those of its
        distribution and those that use it, all or none. One that does not run is started.

        Args:
            name: The plugin's name, or an instance's.
            others: Of more, which are reloaded with it.

        Returns:
            What was reloaded, how long it took until calls went there, and what of the old generations is left.

        Raises:
            PluginHostError: Something did not start, or cannot be reloaded in this process. What served goes on.
        """
        from pluginhost.reload import Reload

        return self._reloading(lambda: Reload(self._runner, self._entries()).run([name, *others]))

    def rollback(self, name: str) -> "Reloaded":
        """Has a plugin served by what it was made of before its last reload, until the next reload or start.

        What goes with it is as for `reload`.

        Args:
            name: The plugin's name, or an instance's.

        Returns:
            As for `reload`.

        Raises:
            PluginHostError: There is nothing to return to, or it did not start. What served goes on.
        """
        from pluginhost.reload import Reload

        return self._reloading(lambda: Reload(self._runner, self._entries()).back(name))

    def _reloading(self, reload: "Callable[[], Reloaded]") -> "Reloaded":
        self._runner.require_open()
        with self._apply_lock:
            if self._is_reloading:  # by this very thread
                what = "a plugin asks for a reload while it is started by one"
                raise PluginHostError(Finding("reload-impossible", what, "it asks for it when that is over"))
            self._is_reloading = True
            try:
                return reload()
            finally:
                self._is_reloading = False

    def loaded(self) -> "dict[str, Handle]":
        """Returns the plugins that run, by name, in the order in which they came to."""
        return self._runner.registry.by_name()

    def status(self) -> "dict[str, Status]":
        """Returns how each plugin is that was asked for, by name: also those that failed or were stopped.

        Where several have the same name, all but the first are called `NAME@DISTRIBUTION`.
        """
        return {name: handle.status() for name, handle in self._runner.registry.named().items()}

    def register(self, name: str, factory: "Callable[[], Plugin]", *, capabilities: "Collection[str]" = ()) -> None:
        """Adds a plugin of the application's own, which is not installed; it hides an installed one of that name.

        Args:
            name: What it is asked for by.
            factory: What makes it, as a plugin's `New` does; its class, for instance.
            capabilities: What it can do beyond its contracts.

        Raises:
            ConfigurationError: One of that name was registered, or the name is none.
        """
        from pluginhost.registered import Registered

        with self._lock:
            made = Registered(self.group, name, factory, capabilities)
            if name in self.registered:
                from pluginhost.entries import name_taken

                raise name_taken("register", name)
            self.registered = self.registered | {name: made}

    def subscribe(self, listener: "Listener", topic: str = "") -> "Callable[[], None]":
        """Has a listener called for what happens from now on, and returns what undoes it.

        Args:
            listener: Called with a `pluginapi.Event`, on the thread on which it happens.
            topic: What the events' topics begin with: `plugin.` for every change of a plugin's state, `plugin.failed`
                for failures; empty for all, also what plugins emit.
        """
        return self._runner.registry.events.subscribe(listener, topic)

    def apply(self, configuration: "str | PathLike[str] | Mapping[str, object]") -> None:
        """Sets the manager anew while its plugins serve: starts all that changed before it stops anything.

        A plugin whose settings changed is made once more and started beside the one that serves; then calls go to it,
        and the other is shut down once the calls inside have returned. What was disabled and is not any more is
        started, and what is disabled now is stopped. What was given to the manager as arguments stays.

        Args:
            configuration: As for the manager.

        Raises:
            ConfigurationError: A setting is wrong; or the group or the API is another, which needs another manager; or
                a plugin is disabled that another uses. Nothing is changed.
            PluginHostError: Something did not start. What it is one of is stopped again, and all serve as before.
        """
        from pluginhost.applying import Change

        after = self._configured(configuration)
        if (after.group, after.api) != (self.group, self.api):
            raise wrong("group and api stay as they are while plugins run", "make another PluginManager")
        self._runner.require_open()
        with self._apply_lock:
            before, entries = self.configuration, self._entries()
            self._trial = get_ident(), after
            try:
                is_other = before.capabilities != after.capabilities
                rerouted = self._routes_made.configured(after.routes) if self._routes_made else lambda: None
                change = Change(self._runner, entries, self._entries(), offers_other=is_other)
                change.start()
                changed = change.swap(lambda: self._set(after))
                rerouted()
            finally:
                self._trial = None
            self._tend_control()
        self._runner.registry.events.emit("configuration.applied", "", changed)

    def _set(self, configuration: "Configuration") -> None:
        self._configuration, self._plugin_dirs = configuration, configuration.plugin_dirs

    def close(self) -> None:
        """Shuts down what was started, in reverse order; what fails is logged. A second call does nothing."""
        self._named = {}
        with self._lock:
            runner = self._runner_made
            self._is_closed = True
        if self._control:
            self._control.close()
        if runner:
            runner.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.close()

    @property
    def _runner(self) -> "Runner":
        with self._lock:
            if self._runner_made is None:
                self._runner_made = self._make_runner()
                self._runner_made.is_closed = self._is_closed
                self._tend_control()
            return self._runner_made

    def _make_runner(self) -> "Runner":
        from pluginhost.runner import Runner  # a survey does without

        return Runner(self)

    @property
    def _routes(self) -> "Routes":
        runner = self._runner
        with self._lock:
            if self._routes_made is None:
                from pluginhost.routing import Routes  # most hosts do without

                self._routes_made = Routes(self, lambda topic, fields: runner.registry.events.emit(topic, "", fields))
            return self._routes_made

    def serving(self, contract: "TypeForm[P]", requires: "Collection[str]") -> "Iterator[Handle]":
        """Yields the plugins of a contract that have some capabilities, each started when it is its turn."""
        yield from self._runner.serving(contract, requires)

    def _tend_control(self) -> None:
        """Has the control socket there, or not, as it is set."""
        if self._control and not self.configuration.control:
            self._control.close()
            self._control = None
        elif self.configuration.control and not self._control and not self._is_closed:
            from pluginhost import control  # most hosts do without

            self._control = control.serve(self)
            if self._is_closed:  # meanwhile
                self._control.close()

    def entry(self, name: str) -> "Entry":
        """Returns what goes by a name.

        Raises:
            PluginNotFound: No instance and no installed plugin does.
        """
        return self._entries().find(name)

    def entries(self) -> "Iterator[Entry]":
        """Yields all that is run: instances, and the plugins that have none.

        Raises:
            ConfigurationError: An instance has the name of a plugin.
        """
        yield from self._entries()

    def watcher(self, registry: "Registry") -> "Watcher":
        """Returns what reloads plugins when their files change; it does not watch yet.

        Raises:
            ConfigurationError: watchfiles is not installed.
        """
        from pluginhost.watching import Watcher

        return Watcher(self, registry)

    def tell(self, finding: "Finding", about: "About | None" = None) -> None:
        """Logs a finding, once; and which plugin's it is, where that is known."""
        from pluginhost import journal

        if finding not in self._logged:
            self._logged.add(finding)
            journal.tell(finding, about)
