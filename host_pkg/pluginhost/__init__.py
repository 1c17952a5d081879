"""A plugin host: separately installed wheels extend an application.

Imports point down, from the command to the ground:

```
cli/           testing/      stopwatch       the command; what plugins and applications are tested with; who measures
manager        doctor        profile         PluginManager; what is wrong in an environment; what each start costs
routing        turns, choice, canary         which plugin serves a call, and who next; a new version on trial
               shares, flags, callers        who takes a key; OpenFeature; on whose behalf a call is made
reload         applying                      the next generation of plugins that run; another configuration for them
watching       control                       who notices that files changed; what operators ask of a host that runs
replacing                                    some plugins started anew beside what serves: all or none
runner         registry, registered          the road to a plugin that runs, and back; whose turn it is
lifecycle      dependencies, unloading       its states; what it requires; how it is dropped
generations    limits, gate                  init, calls, shutdown; how many calls at once; where calls wait
isolation/                                   a plugin in a process of its own, and the wire to it
containment    tally, abandon, breaker       deadlines; how calls went; threads of their own; when they are refused
               versions, goplugin/           versions from wheels, beside what is installed; programs, and their wire
blame          replies, hints, places        whose fault it is; what is returned, and should be; where it was raised
host           probe, throwaway, verdicts    what `init` receives; a first load in a process to be lost
               leaks, telemetry, stubs       who holds a class; spans and metrics; what stands for a plugin
               leftovers, kept               what is left of a generation; copies to return to
loading        admission, watchdog           import, New(), assert the type; may it run; who notices what is late
               installs, searchpath, sources what the doctor looks at besides
factories      handover                      from a module's name to what its factory made; a state on its way
plugin_dirs    store, wheels                 folders of wheels; what is unpacked; what a wheel file must be
reimport                                     modules imported anew, beside those that serve
identity       copies, names, requirements   one copy of the API; what admission checks
               edits                         a value set in a configuration file
discovery      symbols, entries, journal     what is installed; what a module offers; what goes by a name; the log
               intact                        whether an install is whole, and what it is made of
config                                       the files and arguments in which things are set
survey         events, places                distributions, candidates, rows; who is told of what happens; where
               validation                    values held against their types
index          metadata, archives            the cache; the files that are read
process        interrupts, exits             what plugins must leave alone; Ctrl-C; the process's end
               callbacks                     what Python itself calls, and no module shows
watched        child, parent, importtime     what that is, and how it is put back; a process and its host; its imports
errors         catalogue, settings           what goes wrong, and every code; what may be set
               forks                         what is told in a copy of the process
```

PYTEST_DONT_REWRITE: pytest, for which `testing` has a plugin, would warn of a host that was imported before pytest.
"""

# Nothing is imported before it is asked for: a survey must not pay for what loads plugins.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pluginhost.callers import context
    from pluginhost.errors import (
        ConfigurationError,
        Finding,
        ManagerClosed,
        PluginCallError,
        PluginFactoryError,
        PluginHostError,
        PluginImportError,
        PluginInitError,
        PluginLoadError,
        PluginLookupError,
        PluginNotFound,
        PluginProbeError,
        PluginRefused,
        PluginRequirementError,
        PluginsFailed,
        PluginStopped,
        PluginTypeError,
    )
    from pluginhost.lifecycle import Handle
    from pluginhost.manager import PluginManager
    from pluginhost.status import RouteStatus, Status
    from pluginhost.survey import Row, Survey
    from pluginhost.symbols import Symbol

__all__ = [
    "ConfigurationError",
    "Finding",
    "Handle",
    "ManagerClosed",
    "PluginCallError",
    "PluginFactoryError",
    "PluginHostError",
    "PluginImportError",
    "PluginInitError",
    "PluginLoadError",
    "PluginLookupError",
    "PluginManager",
    "PluginNotFound",
    "PluginProbeError",
    "PluginRefused",
    "PluginRequirementError",
    "PluginStopped",
    "PluginTypeError",
    "PluginsFailed",
    "RouteStatus",
    "Row",
    "Status",
    "Survey",
    "Symbol",
    "context",
]

_ELSEWHERE = {
    "Handle": "lifecycle",
    "PluginManager": "manager",
    "RouteStatus": "status",
    "Row": "survey",
    "Status": "status",
    "Survey": "survey",
    "Symbol": "symbols",
    "context": "callers",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib.import_module: importlib is an import more.
    value: object = getattr(__import__(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}", fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
