"""`pluginhost list`: what is installed and whether it may run."""

from __future__ import annotations

import click

from pluginhost.cli import output
from pluginhost.cli.options import Host, plugin_options


@click.command("list")
@plugin_options
def list_(host: Host) -> None:
    """Lists the installed plugins, and the versions of them that are instances; imports none of them."""
    manager = host.manager()
    survey = manager.survey()
    rows = [(row.name, row) for row in survey]
    rows = sorted([*rows, *manager.versions().items()], key=lambda each: each[0])
    if host.as_json:
        plugins = [row.to_dict() | {"name": name} for name, row in rows]
        output.write_json(survey.to_dict() | {"plugins": plugins})
        return
    if not rows:
        output.write(f"no plugins: nothing that is installed registers under {manager.group!r}", err=True)
    else:
        output.write_columns(
            ("NAME", "DISTRIBUTION", "VERSION", "API", "STATE", "CONTRACTS", "CAPABILITIES"),
            [
                (
                    name,
                    row.distribution,
                    row.version,
                    row.api.replace(" ", ""),
                    row.state,
                    ",".join(row.contracts or ()),
                    ",".join(row.capabilities),
                )
                for name, row in rows
            ],
        )
    output.write_findings((name, finding) for name, row in rows for finding in row.findings)
    output.write_findings(("", finding) for finding in survey.findings)
