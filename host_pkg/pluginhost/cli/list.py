"""`pluginhost list`: what is installed and whether it may run."""

from __future__ import annotations

import click

from pluginhost.cli import output
from pluginhost.cli.options import Host, plugin_options


@click.command("list")
@plugin_options
def list_(host: Host) -> None:
    """Lists the installed plugins; imports none of them."""
    manager = host.manager()
    survey = manager.survey()
    if host.as_json:
        output.write_json(survey.to_dict())
        return
    if not survey:
        output.write(f"no plugins: nothing that is installed registers under {manager.group!r}", err=True)
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
