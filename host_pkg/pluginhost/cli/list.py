"""`pluginhost list`: what is installed and whether it may run."""

from __future__ import annotations

import click

from pluginhost.cli import output
from pluginhost.cli.options import plugin_options
from pluginhost.manager import PluginManager


@click.command("list")
@plugin_options
def list_(group: str, api: str | None, plugin_dirs: tuple[str, ...], as_json: bool) -> None:
    """Lists the installed plugins; imports none of them."""
    survey = PluginManager(group, api, plugin_dirs=plugin_dirs).survey()
    if as_json:
        output.write_json(survey.to_dict())
        return
    if not survey:
        output.write(f"no plugins: nothing that is installed registers under {group!r}", err=True)
    else:
        output.write_columns(
            ("NAME", "DISTRIBUTION", "VERSION", "API", "STATE", "CONTRACTS", "CAPABILITIES"),
            [
                (
                    row.name,
                    row.distribution,
                    row.version,
                    row.api.replace(" ", ""),
                    row.state,
                    ",".join(row.contracts or ()),
                    ",".join(row.capabilities),
                )
                for row in survey
            ],
        )
    output.write_findings((row.name, finding) for row in survey for finding in row.findings)
    output.write_findings(("", finding) for finding in survey.findings)
