"""`pluginhost check`: every check that needs no import, on a plugin that is installed or on a wheel file."""

from __future__ import annotations

import click

from pluginhost.cli import output
from pluginhost.cli.options import complete_name, plugin_options, rows_of
from pluginhost.manager import PluginManager


@click.command()
@click.argument("name", metavar="NAME|PATH.whl", shell_complete=complete_name)
@plugin_options
def check(name: str, group: str, api: str | None, as_json: bool) -> int:
    """Checks a plugin, or the plugins in a wheel file, without installing or importing them; exits 1 on a refusal."""
    rows = rows_of(PluginManager(group, api), name)
    if as_json:
        output.write_json({"plugins": [row.to_dict() | {"passed": row.passed} for row in rows]})
    else:
        for row in rows:
            output.write(f"{row.candidate}: {row.state}")
            for title in row.passed:
                output.write(f"  ok      {title}")
            for finding in row.findings:
                output.write(f"  {finding.severity:<8}{str(finding).replace(chr(10), chr(10) + ' ' * 10)}")
    return 1 if any(row.state == "refused" for row in rows) else 0
