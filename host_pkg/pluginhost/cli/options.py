"""The options and the completion that several subcommands share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from pluginhost import config
from pluginhost.cli import output
from pluginhost.errors import ConfigurationError, Finding, PluginHostError
from pluginhost.manager import PluginManager
from pluginhost.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate, ParamSpec

    from click.shell_completion import CompletionItem

    from pluginhost.config import Layer

    P = ParamSpec("P")

TRACEBACK = "pluginhost.traceback"

GROUP = "pluginhost.plugins"
"""The entry-point group where none is named."""


class Host:
    """What a command is asked to look at: what its options say, and the configuration files that it reads.

    Attributes:
        as_json: Whether it prints JSON.
        file: The configuration file that was given; `None` when none was.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.as_json: bool = options.pop("as_json", False)
        self.file: str | None = options.pop("file", None)
        self._without: tuple[str, ...] = options.pop("without", ())
        self._given = {name: value for name, value in options.items() if value}

    @functools.cached_property
    def files(self) -> list[Layer]:
        """What is in the files, the strongest first; what is to be told of them is printed."""
        layers, findings = config.command_layers(self.file)
        output.write_findings(("", finding) for finding in findings)
        return layers

    def given(self) -> dict[str, Any]:
        """Returns what the options set."""
        given = dict(self._given)
        instances = {name for layer in self.files for name in config.names_in(layer, "instances")}
        for name in self._without:
            given.setdefault("instances" if name in instances else "plugins", {})[name] = {"enabled": False}
        return given

    def layers(self) -> list[Layer]:
        """Returns all that is set, the strongest last."""
        return [*reversed(self.files), config.Layer("", config.as_in_a_file(self.given()))]

    def sets(self, name: str) -> bool:
        """Returns whether a setting is set, by whatever."""
        return any(name in layer.values for layer in self.layers())

    def plain(self) -> PluginManager:
        """Returns a manager of what the options name, whatever is in the files."""
        api = {"api": None} if self._given.get("api") == "none" else {}
        return PluginManager(**{**{key: self._given[key] for key in _PLACES if key in self._given}, **api})

    def manager(self, **more: object) -> PluginManager:
        """Returns the manager that is asked for.

        Args:
            more: Further arguments, of the command's own; `None` for those that were not given.

        Raises:
            ConfigurationError: A file cannot be read, or a setting is wrong.
            PluginNotFound: `--only` or `--without` names what is not there.
        """
        given = self.given() | {name: value for name, value in more.items() if value is not None}
        files = None
        if self.files:
            config.configuration(given, None, self.files)  # a fault in one of them is told with the file
            files = config.merged([*reversed(self.files)])
        if given.get("api") == "none":
            given["api"] = None
        manager = PluginManager(configuration=files, **given)
        for name in (*given.get("allow", ()), *self._without):
            if name not in manager.configuration.instances:
                manager.row(name)
        return manager


def plugin_options(command: Callable[Concatenate[Host, P], object]) -> Callable[..., object]:
    """Hands a command the `Host` that its options ask for, and adds these options to it."""
    return _with_host(command, click.option("--json", "as_json", is_flag=True, help="Print JSON."))


def serving_options(command: Callable[Concatenate[Host, P], object]) -> Callable[..., object]:
    """Does the same for a command whose standard output is not for what it is asked to print."""
    return _with_host(command)


def _with_host(command: Callable[Concatenate[Host, P], object], *more: Callable[[Any], Any]) -> Callable[..., object]:
    @functools.wraps(command)
    def with_host(*args: Any, **options: Any) -> object:
        host = Host({name: options.pop(name) for name in _OPTIONS if name in options})
        return command(host, *args, **options)

    made: Callable[..., object] = with_host
    for option in (
        click.option("--traceback", is_flag=True, expose_value=False, callback=_keep, help="Show where it arose."),
        *more,
        click.option("--without", callback=_names, metavar="NAME,…", help="Disable these plugins or instances."),
        click.option("--only", "allow", callback=_names, metavar="NAME,…", help="Allow these plugins alone."),
        click.option("--safe-mode", is_flag=True, help="Start no installed plugin."),
        click.option(
            "--plugin-dir", "plugin_dirs", multiple=True, metavar="DIR",
            help="A folder whose wheels are plugins; may be given several times.",
        ),
        click.option(
            "--api", metavar="NAME|none", show_default="pluginapi",
            help="The API package that host and plugins share; none for a group that has no API.",
        ),
        click.option("--group", metavar="GROUP", show_default=GROUP, help="The entry-point group."),
        click.option(
            "--config", "file", type=click.Path(), metavar="FILE", help="A configuration file, before all others."
        ),
    ):  # fmt: skip
        made = option(made)
    return made


_PLACES = ("group", "api", "plugin_dirs")
_OPTIONS = ("group", "api", "plugin_dirs", "file", "safe_mode", "allow", "without", "as_json")


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Returns the installed plugins' names that begin as what was typed."""
    options = {name: ctx.params.get(name) for name in ("group", "plugin_dirs", "file")}
    try:
        survey = Host(options).manager(api="none").survey()
    except PluginHostError:  # of a file that is wrong, the command itself will tell
        return []
    return [row.name for row in survey if row.name.startswith(incomplete)]


def survey_of(manager: PluginManager, name: str) -> Survey:
    """Returns the survey of one plugin by its name, or of the plugins in a wheel file.

    Raises:
        ConfigurationError: The file is not there or cannot be read, or has no plugin and no fault.
        PluginNotFound: No installed plugin has that name.
    """
    if not name.endswith(".whl"):
        return Survey([manager.entry(name).row], [])
    try:
        survey = manager.survey_wheel(name)
    except (OSError, ValueError) as exc:
        raise not_a_wheel(name, f"{name} cannot be read: {exc}") from exc
    if not survey and not survey.findings:
        raise not_a_wheel(name, f"{name} is not a wheel file with a plugin of the group {manager.group!r}")
    return survey


def not_a_wheel(name: str, why: str) -> ConfigurationError:
    """Returns the error that a file is not what it should be."""
    return ConfigurationError(Finding("wheel-unreadable", why, "give the path of a .whl that exists", name))


def _keep(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[TRACEBACK] = True


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name for each in (value or "").split(",") if (name := each.strip()))
