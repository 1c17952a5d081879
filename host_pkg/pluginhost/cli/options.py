"""The options and the completion that several subcommands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from pluginhost.errors import ConfigurationError, Finding
from pluginhost.manager import PluginManager
from pluginhost.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    F = TypeVar("F", bound=Callable[..., object])

TRACEBACK = "pluginhost.traceback"

GROUP = "pluginhost.plugins"
"""The entry-point group where none is named."""


def plugin_options(command: F) -> F:
    """Adds `--group`, `--api`, `--plugin-dir`, `--json` and `--traceback` to a command."""
    for option in (
        click.option("--traceback", is_flag=True, expose_value=False, callback=_keep, help="Show where it arose."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--plugin-dir", "plugin_dirs", multiple=True, metavar="DIR",
            help="A folder whose wheels are plugins; may be given several times.",
        ),
        click.option(
            "--api", default="pluginapi", metavar="NAME|none", show_default=True, callback=_api,
            help="The API package that host and plugins share; none for a group that has no API.",
        ),
        click.option(
            "--group", default=GROUP, metavar="GROUP", show_default=True, help="The entry-point group."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Returns the installed plugins' names that begin as what was typed."""
    group, plugin_dirs = ctx.params.get("group") or GROUP, ctx.params.get("plugin_dirs") or ()
    survey = PluginManager(group, None, plugin_dirs=plugin_dirs).survey()
    return [row.name for row in survey if row.name.startswith(incomplete)]


def survey_of(manager: PluginManager, name: str) -> Survey:
    """Returns the survey of one plugin by its name, or of the plugins in a wheel file.

    Raises:
        ConfigurationError: The file is not there or cannot be read, or has no plugin and no fault.
        PluginNotFound: No installed plugin has that name.
    """
    if not name.endswith(".whl"):
        return Survey([manager.row(name)], [])
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


def _api(ctx: click.Context, param: click.Parameter, value: str) -> str | None:
    return None if value == "none" else value
