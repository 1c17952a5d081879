"""`pluginhost enable` and `disable`: a plugin's switch in a configuration file, without any of its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pluginhost import config
from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, plugin_options
from pluginhost.errors import ConfigurationError, escape, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_name)
@plugin_options
def enable(host: Host, names: tuple[str, ...]) -> None:
    """Lets plugins or instances run, by an entry in a configuration file; imports none of them.

    The file is that of --config, else the one of the working folder if it is yours, else your own.
    """
    _switch(host, names, True)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_name)
@plugin_options
def disable(host: Host, names: tuple[str, ...]) -> None:
    """Keeps plugins or instances from running, by an entry in a configuration file; imports none of them.

    The file is that of --config, else the one of the working folder if it is yours, else your own.
    """
    _switch(host, names, False)


def _switch(host: Host, names: Sequence[str], value: bool) -> None:
    from pluginhost import edits  # the other subcommands start without what only these need
    from pluginhost.validation import joined

    settings = _settings(host, names)
    file = _file(host)
    is_changed = edits.set_values(file, settings, value)
    lines = [joined("", keys) for keys in settings]
    if host.as_json:
        output.write_json({"file": file, "changed": is_changed, "set": dict.fromkeys(lines, value)})
    for line in [] if host.as_json else lines:
        output.write(escape(f"{line} = {str(value).lower()}  # {file}{'' if is_changed else ', as it was'}"))
    now = [*reversed(config.command_layers(host.file)[0])]
    for keys, line in zip(settings, lines, strict=True):
        if (decides := config.origin(now, keys)).file != file:
            output.write(escape(f"{line} is in {decides.file} too, which comes before {file}"), err=True)


def _settings(host: Host, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the keys of each name's switch.

    Raises:
        PluginNotFound: Neither is it installed, nor set anywhere.
    """
    instances, plugins = ({name for layer in host.files for name in config.names_in(layer, of)} for of in _TABLES)
    try:
        manager = host.manager()
    except ConfigurationError:  # what else is wrong in a file keeps no plugin from being switched off
        manager = host.plain()
    for name in names:
        if name in instances | plugins:
            continue
        row = manager.row(name)  # a survey: nothing is imported
        if "@" in name:
            hint = f'plugins.{row.name}.distribution = "NAME" says which of several is meant'
            raise wrong(f"{name}: a plugin is switched by its name alone: {row.name}", hint)
    return [("instances" if name in instances else "plugins", name, "enabled") for name in dict.fromkeys(names)]


_TABLES = ("instances", "plugins")


def _file(host: Host) -> str:
    """Returns the file that is changed."""
    if host.file:
        return host.file
    here = config.working_layer()
    return here.file if here and here.is_own else config.user_file()
