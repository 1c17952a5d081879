"""The way from an admitted candidate to an object of its contracts, whose calls a process of its own answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pluginapi
from pluginhost.errors import ConfigurationError, Finding
from pluginhost.index import path_with
from pluginhost.isolation import handshake, remote, system
from pluginhost.isolation.codec import codec_of
from pluginhost.isolation.services import packed_config
from pluginhost.isolation.starting import Spec, Start
from pluginhost.isolation.supervision import Supervisor
from pluginhost.loading import Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pluginhost.handover import Stated
    from pluginhost.isolation.plugins import PluginChild
    from pluginhost.isolation.spawning import Nursery
    from pluginhost.isolation.supervision import Reports
    from pluginhost.loading import Source, Watched
    from pluginhost.settings import PluginSettings
    from pluginhost.survey import Candidate
    from pluginhost.watchdog import Watchdog


def load(
    candidate: Candidate,
    wanted: list[str],
    contracts: Mapping[str, type],
    api: str | None,
    source: Source,
    settings: PluginSettings,
    config_path: str,
    *,
    is_older: bool,
    nursery: Nursery,
    dog: Watchdog,
    hear: Callable[[bool, str], None],
    reports: Reports,
    reached: Callable[[], None],
    watched: Watched,
) -> Loaded:
    """Returns an admitted candidate's plugin, made in a process of its own and not yet initialised.

    Args:
        candidate: What was admitted.
        wanted: The names of the host's contracts that it must implement.
        contracts: All of the host's contracts by name.
        api: The import name of the API package.
        source: What else is known of it.
        settings: What is set for it.
        config_path: Where its `config` is set, as a message names it.
        is_older: Whether it was built for an earlier minor version of the API.
        nursery: Who starts its process.
        dog: Who looks whether that lives.
        hear: Called with each line that it writes, and whether that was to standard error.
        reports: Who is told what of it.
        reached: Called between its import and its `New()`.
        watched: Called with `import` and with `new`: returns what watches how long it takes.

    Raises:
        ConfigurationError: It cannot be isolated, or its configuration is not of its type.
        PluginHostError: As where it is loaded into this process; or its process did not start.
    """
    if api is None or source.factory is not None:
        raise _impossible(candidate, api)
    codec_of(*(contracts[name] for name in wanted))  # what cannot cross is refused before anything is started
    of = candidate.distribution
    limits = settings.limits
    job = {
        "path": path_with(of.origin),
        "entry": (candidate.group, candidate.name, candidate.value),
        "distribution": (of.name, of.version, of.origin, of.info),
        "api": api,
        "contracts": wanted,
        "stamped": source.capabilities,
        "built_against": source.built_against,
        "is_older": is_older,
        "config": packed_config(settings.config),
        "config_path": config_path,
        "limits": (limits.memory, limits.cpu, limits.files),
    }
    spec = Spec(
        candidate, reports.about, contracts, settings, job, handshake.identity(api, of.info), system.best(), nursery,
        hear, _errors_of(api),
    )  # fmt: skip
    start = Start(spec)
    supervisor = Supervisor(candidate, settings, reports, dog, start, spec.known)
    supervisor.load(watched, reached)
    report = start.report
    module, name = report.cls
    own: dict[str, Any] = {
        "__module__": module,
        "__qualname__": name,
        "concurrency": report.concurrency,
        "init": lambda self, host: supervisor.init(host),
        "validate": lambda self: supervisor.validate(),
        "shutdown": lambda self: supervisor.shutdown(),
        **_of_state(report.state, supervisor, settings.init_timeout),
    }
    implemented = tuple(contracts[name] for name in report.contracts)
    plugin = remote.make(implemented, start.codec, supervisor, own)
    loaded = Loaded(candidate, None, plugin, [])
    loaded.capabilities = frozenset(report.capabilities)
    loaded.built_against = source.built_against if is_older else ""
    loaded.end = supervisor.end
    return loaded


def _of_state(stated: Stated, supervisor: Supervisor[PluginChild], seconds: float) -> dict[str, Any]:
    """Returns what the class has by which a state is handed over, so that `handover.stated` says the same of it."""
    names: dict[str, Any] = {
        "state_version": stated.version,
        "state_accepts": stated.accepts,
        "state_snapshot": stated.is_snapshot,
    }
    if stated.exports:
        names["export_state"] = lambda self: supervisor.serving().export_state(seconds)
    if stated.restores:
        names["restore_state"] = lambda self, state: supervisor.serving().restore_state(state, seconds)
    return names


def _impossible(candidate: Candidate, api: str | None) -> ConfigurationError:
    why = "it is the application's own, made by a function of this process"
    if api is None:
        why = "its group has no API, so nothing says what its calls are"
    hint = 'take `isolation = "process"` away from it'
    finding = Finding("isolation-impossible", f"{candidate} cannot have a process of its own: {why}", hint)
    return ConfigurationError(finding)


def _errors_of(api: str) -> tuple[type[pluginapi.PluginError], ...]:
    """Returns the exceptions that an API defines: both sides have them."""
    packages = {api.partition(".")[0], "pluginapi"}
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages]
    found = (value for module in modules for value in list(vars(module).values()))
    errors = [each for each in found if isinstance(each, type) and issubclass(each, pluginapi.PluginError)]
    return tuple(dict.fromkeys(errors))
