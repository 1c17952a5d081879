"""`pluginhost doctor`: what is wrong in this environment, and how to mend it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from pluginhost.cli import output
from pluginhost.cli.options import GROUP, Host, plugin_options
from pluginhost.errors import escape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pluginhost.discovery import Discovery
    from pluginhost.doctor import Diagnosis
    from pluginhost.probe import Report
    from pluginhost.survey import Row

TIMEOUT = 60.0
"""Seconds that a first load may take."""


@click.command()
@click.option("--load", is_flag=True, help="Load each plugin too, in a process of its own.")
@click.option("--strict", is_flag=True, help="Exit 1 with warnings too.")
@plugin_options
def doctor(host: Host, load: bool, strict: bool) -> int:
    """Examines all that bears upon plugins, and tells how to mend what is wrong; exits 1 with an error."""
    from pluginhost import discovery  # the other subcommands start without what only this one needs
    from pluginhost.plugin_dirs import PluginDirs

    manager = host.manager()
    settings = manager.configuration
    group, api = settings.group, settings.api
    dirs = PluginDirs(settings.plugin_dirs, api)
    found = discovery.discover(group, api, unpacked=dirs.path)
    found.findings += dirs.findings
    if not host.sets("api") and not _is_bound(found, group):
        api = found.api = None
    sys.path += [entry for entry in dirs.path if entry in found.origins()]  # for the processes of first loads
    versions = manager.versions()
    diagnosis = _examine(found, group, api, versions, load=load, folders=len(settings.plugin_dirs))
    if host.as_json:
        output.write_json(diagnosis.to_dict())
    else:
        _write(diagnosis)
    return 1 if diagnosis.state == "error" or (strict and diagnosis.state == "warning") else 0


def _is_bound(found: Discovery, group: str) -> bool:
    """Returns whether a group has an API: it is the host's own, or plugins of it were stamped or are all pinned.

    That some are pinned says little: a plugin's distribution may have entry points of other groups.
    """
    from pluginhost.requirements import pins

    stamped = any(
        (group, each.name) in each.distribution.facts.manifest.plugins
        for each in found.candidates
        if each.distribution.facts and each.distribution.facts.manifest
    )
    return group == GROUP or stamped or all(found.api and pins(each, found.api) for each in found.candidates)


def _examine(
    found: Discovery, group: str, api: str | None, versions: Mapping[str, Row], *, load: bool, folders: int
) -> Diagnosis:
    from pluginhost.doctor import examine

    if not load:
        return examine(found, group, api, folders=folders, versions=versions)
    from pluginhost import dependencies, identity, probe

    def first_load(row: Row) -> Report:
        wanted = dependencies.wanted(row, identity.import_contracts(api))
        if row.candidate.program:
            return _started(row, api, wanted.values())
        return probe.first_load(row.candidate, api, wanted, seconds=TIMEOUT, makes=api is not None)

    if not sys.stderr.isatty():
        return examine(found, group, api, first_load, folders=folders, versions=versions)
    from rich.console import Console  # a pipe does without it
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=len(found.candidates) + len(versions))
        return examine(found, group, api, first_load, lambda: progress.advance(task), folders, versions)


def _started(row: Row, api: str | None, contracts: Collection[type]) -> Report:
    """Returns that a program comes to serve its contracts; it is ended then."""
    from pluginhost.goplugin import require
    from pluginhost.probe import Report

    require(f"{row.candidate}, a program,")
    from pluginhost.goplugin.loading import first_load

    report, began = Report(), time.monotonic()
    first_load(row.candidate, contracts, api, row.stamped, seconds=TIMEOUT)
    report.reached, report.seconds = "usable", time.monotonic() - began
    return report


def _write(diagnosis: Diagnosis) -> None:
    width = max(len(check.title) for check in diagnosis.checks)
    for check in diagnosis.checks:
        output.write(escape(f"{check.state:<9}{check.title:<{width}}  {check.extent}"))
    if diagnosis.plugins:
        output.write("")
        output.write_columns(
            ("PLUGIN", "DISTRIBUTION", "VERSION", "REACHED", "STATE", "SECONDS"),
            [
                (
                    verdict.name,
                    verdict.row.distribution,
                    verdict.row.version,
                    verdict.reached,
                    verdict.state,
                    f"{verdict.seconds:.2f}",
                )
                for verdict in diagnosis.plugins
            ],
        )
    output.write_findings(("", finding) for check in diagnosis.checks for finding in check.findings)
