"""What goes by a name: the plugins of a survey and the instances of them, as a configuration has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pluginhost.errors import Finding, PluginNotFound, PluginRefused, wrong
from pluginhost.settings import InstanceSettings, PluginSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Final, TypeAlias

    from pluginhost.errors import ConfigurationError
    from pluginhost.settings import Configuration, Isolation
    from pluginhost.survey import Row, Survey

    Key: TypeAlias = tuple[str, str]

S = TypeVar("S", bound=PluginSettings)

_NOTHING_SET: Final = PluginSettings()


class Entry:
    """What goes by a name: a plugin, an instance of one, or a guest.

    Attributes:
        name: What it is asked for by.
        row: The plugin's row of the survey.
        settings: What is set for it.
        barred: What the settings have against it; `None` when they let it run.
    """

    __slots__ = ("barred", "name", "row", "settings")

    def __init__(self, name: str, row: Row, settings: PluginSettings, barred: Finding | None = None) -> None:
        self.name = name
        self.row = row
        self.settings = settings
        self.barred = row.barred or barred

    def require_ready(self) -> None:
        """Returns if it may run.

        Raises:
            PluginRefused: It may not.
        """
        if self.barred:
            raise PluginRefused(self.barred)
        self.row.require_ready()

    @property
    def path(self) -> str:
        """Where its `config` is set, as a message names it."""
        table = "instances" if isinstance(self.settings, InstanceSettings) else "plugins"
        return f"{table}.{self.name if '.' not in self.name else repr(self.name)}.config"

    @property
    def key(self) -> Key:
        """Its identity among the handles: a name alone is none where two distributions have it."""
        return self.name, self.row.distribution


class Entries:
    """All that is run: instances, and the plugins that have none.

    An instance from a wheel is another version, which stands beside the plugin and not in its place.

    Args:
        survey: What is installed, and what the application brings itself.
        configuration: What is set.
        isolation: Where some were asked to run, by the names that they were asked for by; it comes before what is set.
        version: Returns the row of an instance from a wheel.
    """

    def __init__(
        self,
        survey: Survey,
        configuration: Configuration,
        isolation: Mapping[str, Isolation],
        version: Callable[[str, InstanceSettings], Row],
    ) -> None:
        self._survey = survey
        self._of = configuration
        self._isolation = isolation
        self._version = version
        self._versions: dict[str, Row] = {}

    def row(self, name: str) -> Row:
        """Returns the row of a plugin.

        Args:
            name: The plugin's name; `NAME@DISTRIBUTION` picks one of several that share the name.

        Raises:
            PluginNotFound: There is none; the error names the nearest.
        """
        plugin, _, distribution = name.partition("@")
        for row in self._survey:
            if row.name == plugin and distribution in ("", row.distribution):
                if distribution:
                    row.pick()
                return row
        if distribution:
            raise self._not_found(name, [f"{row.name}@{row.distribution}" for row in self._survey])
        raise self._not_found(name, [row.name for row in self._survey])

    def find(self, name: str) -> Entry:
        """Returns what goes by a name.

        Raises:
            PluginNotFound: No instance and no plugin does.
        """
        instance = self._of.instances.get(name)
        if instance is None:
            return self._plain(self.row(name))
        barred = None if instance.enabled else Finding("disabled", f"{name} is disabled", f"pluginhost enable {name}")
        row = self._from_wheel(name, instance, barred) if instance.wheel else self.row(instance.plugin)
        return Entry(name, row, self._asked(name, row, instance), barred)

    def __iter__(self) -> Iterator[Entry]:
        own = {row.name for row in self._survey if row.candidate.is_builtin}
        rows = [row for row in self._survey if row.candidate.is_builtin or row.name not in own]
        for name in self._of.instances:
            if any(row.name == name for row in rows):
                raise name_taken(f"instances.{name}", name)
            yield self.find(name)
        made = {each.plugin.partition("@")[0] for each in self._of.instances.values() if not each.wheel}
        yield from (self._plain(row) for row in rows if row.name not in made)

    def versions(self) -> dict[str, Row]:
        """Returns the rows of the instances from wheels, by the instances' names."""
        return {name: self.find(name).row for name, each in self._of.instances.items() if each.wheel}

    def _from_wheel(self, name: str, instance: InstanceSettings, barred: Finding | None) -> Row:
        if name not in self._versions:
            row = self._versions[name] = self._version(name, instance)
            plugin = self._of.plugins.get(row.name, _NOTHING_SET)
            row.barred = _barred(row, plugin, self._of) or barred
        return self._versions[name]

    def _plain(self, row: Row) -> Entry:
        return Entry(row.name, row, self._asked(row.name, row, self._of.plugins.get(row.name, _NOTHING_SET)))

    def _asked(self, name: str, row: Row, settings: S) -> S:
        usual: Isolation = "process" if row.candidate.program else "none"
        return replace(settings, isolation=self._isolation.get(name) or settings.isolation or usual)

    def _not_found(self, name: str, names: list[str]) -> PluginNotFound:
        import difflib

        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        group = self._of.group
        there = f"there are {', '.join(sorted(set(names)))}" if names else f"install one that registers under {group}"
        return PluginNotFound(
            Finding(
                "plugin-unknown",
                f"no installed plugin of the group {group!r} is called {name!r}",
                f"did you mean {' or '.join(near)}?" if near else there,
            )
        )


def wheel_of(settings: PluginSettings | None) -> str:
    """Returns the wheel that an instance comes from; nothing for what is installed."""
    return settings.wheel if isinstance(settings, InstanceSettings) else ""


def judge(survey: Survey, configuration: Configuration) -> None:
    """Notes in the rows of a survey what a configuration has against them, and which of several is meant."""
    for row in survey:
        settings = configuration.plugins.get(row.name, _NOTHING_SET)
        if settings.distribution == row.distribution:
            row.pick()
        row.barred = _barred(row, settings, configuration)


def _barred(row: Row, settings: PluginSettings, configuration: Configuration) -> Finding | None:
    path = row.candidate.distribution.info
    if not settings.enabled:
        return Finding("disabled", f"{row.candidate} is disabled", f"pluginhost enable {row.name}", path)
    if row.candidate.is_builtin:  # the application's own code
        return None
    if configuration.safe_mode:
        hint = "mend what made safe mode needed, and leave it"
        return Finding("safe-mode", f"{row.candidate} is not started in safe mode", hint, path)
    allowed = configuration.allow
    if allowed is not None and not {row.name, f"{row.name}@{row.distribution}"} & allowed:
        message = f"{row.candidate} is not allowed: {', '.join(sorted(allowed)) or 'none'}"
        return Finding("not-allowed", message, f"add {row.name} to `allow`", path)
    return None


def name_taken(path: str, name: str) -> ConfigurationError:
    """Returns the error that a name is another plugin's."""
    return wrong(f"{path}: there is a plugin called {name!r} already", "choose another name")
