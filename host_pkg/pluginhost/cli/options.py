"""The options and the completion that several subcommands share."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, TypeVar

import click

from pluginhost.errors import ConfigurationError, Finding
from pluginhost.manager import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from pluginhost.survey import Row

    F = TypeVar("F", bound=Callable[..., object])

TRACEBACK = "pluginhost.traceback"


def plugin_options(command: F) -> F:
    """Adds `--group`, `--api`, `--json` and `--traceback` to a command."""
    for option in (
        click.option("--traceback", is_flag=True, expose_value=False, callback=_keep, help="Show where it arose."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--api", default="pluginapi", metavar="NAME|none", show_default=True, callback=_api,
            help="The API package that host and plugins share; none for a group that has no API.",
        ),
        click.option(
            "--group", default="pluginhost.plugins", metavar="GROUP", show_default=True, help="The entry-point group."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Returns the installed plugins' names that begin as what was typed."""
    survey = PluginManager(ctx.params.get("group") or "pluginhost.plugins", None).survey()
    return [row.name for row in survey if row.name.startswith(incomplete)]


def rows_of(manager: PluginManager, name: str) -> list[Row]:
    """Returns the row of a plugin by its name, or the rows of the plugins in a wheel file.

    Raises:
        ConfigurationError: The file is not a wheel, or has no plugin.
        PluginNotFound: No installed plugin has that name.
    """
    if not name.endswith(".whl"):
        return [manager.row(name)]
    rows = list(manager.survey_wheel(name)) if zipfile.is_zipfile(name) else []
    if not rows:
        why = f"{name} is not a wheel file with a plugin of the group {manager.group!r}"
        raise ConfigurationError(Finding("wheel-unreadable", why, "give the path of a .whl that exists", name))
    return rows


def _keep(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[TRACEBACK] = True


def _api(ctx: click.Context, param: click.Parameter, value: str) -> str | None:
    return None if value == "none" else value
