"""`pluginhost check`: every check that needs no import, on a plugin that is installed or on a wheel file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, plugin_options, survey_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pluginhost.errors import Finding


@click.command()
@click.argument("name", metavar="NAME|PATH.whl", shell_complete=complete_name)
@plugin_options
def check(host: Host, name: str) -> int:
    """Checks a plugin, or the plugins in a wheel file, without installing or importing them; exits 1 on a refusal."""
    survey = survey_of(host.manager(), name)
    if host.as_json:
        rows = [row.to_dict() | {"passed": row.passed} for row in survey]
        output.write_json(survey.to_dict() | {"plugins": rows})
    else:
        _write_findings(survey.findings)
        for row in survey:
            output.write(f"{row.candidate}: {row.state}")
            for title in row.passed:
                output.write(f"  ok      {title}")
            _write_findings([row.barred, *row.findings] if row.barred else row.findings)
    refused = any(row.state == "refused" for row in survey)
    return 1 if refused or any(finding.severity == "error" for finding in survey.findings) else 0


def _write_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        output.write(f"  {finding.severity:<8}{str(finding).replace(chr(10), chr(10) + ' ' * 10)}")
