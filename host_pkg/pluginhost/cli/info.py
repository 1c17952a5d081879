"""`pluginhost info`: all that is known of a plugin without running it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import importlib_metadata

from pluginhost import admission, discovery
from pluginhost.cli import output
from pluginhost.cli.options import complete_name, plugin_options
from pluginhost.errors import ConfigurationError, Finding, escape
from pluginhost.manager import PluginManager

if TYPE_CHECKING:
    from pluginhost.admission import Row, Survey
    from pluginhost.discovery import Distribution


@click.command()
@click.argument("name", metavar="NAME|PATH.whl", shell_complete=complete_name)
@plugin_options
def info(name: str, group: str, api: str | None, as_json: bool) -> None:
    """Tells all that is known of a plugin, or of the plugins in a wheel file; imports nothing of them."""
    manager = PluginManager(group, api)
    if name.endswith(".whl"):
        facts = _wheel_facts(name, manager)
    else:
        facts = _facts(manager.row(name))
    if as_json:
        output.write_json(facts)
    else:
        _write(facts)


def _facts(row: Row) -> dict[str, object]:
    return row.to_dict() | about(row.candidate.distribution)


def _wheel_facts(path: str, manager: PluginManager) -> dict[str, object]:
    """Returns what a wheel says of itself, and the rows that its plugins would have if it were installed here."""
    found = discovery.read_archive(path) if zipfile.is_zipfile(path) else []
    if len(found) != 1:
        raise ConfigurationError(
            Finding("wheel-unreadable", f"{path} is not a wheel file", "give the path of a .whl that exists", path)
        )
    wheel = found[0]
    survey = manager.survey_wheel(path)
    return {"distribution": wheel.name, "version": wheel.version, "origin": path} | about(wheel) | survey.to_dict()


def about(distribution: Distribution) -> dict[str, object]:
    """Returns what a distribution's metadata and manifest tell beside its plugins.

    Args:
        distribution: An installed one, or the one in a wheel file.

    Returns:
        `summary`, `author`, `license`, `homepage`, all text; `built_against` (package, version, fingerprint) and
        `provides` (package, fingerprint), `None` where there is no manifest.
    """
    found = importlib_metadata.distributions(name=distribution.name, path=[distribution.origin])
    metadata = next((each.metadata for each in found), {})
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL", ()) if ", " in url) if metadata else {}
    manifest = distribution.manifest
    return {
        "summary": metadata.get("Summary", ""),
        "author": metadata.get("Author") or metadata.get("Author-email") or "",
        "license": metadata.get("License-Expression") or metadata.get("License") or "",
        "homepage": metadata.get("Home-page") or urls.get("Homepage") or urls.get("homepage") or "",
        "built_against": manifest
        and manifest.api
        and {"package": manifest.api, "version": manifest.version, "fingerprint": manifest.fingerprint},
        "provides": manifest
        and manifest.provides
        and {"package": manifest.provides, "fingerprint": manifest.provides_fingerprint},
    }


def _write(facts: dict[str, object], indent: str = "") -> None:
    """Prints facts a line each; what is nested follows its heading."""
    width = max(map(len, facts))
    for key, value in facts.items():
        match value:
            case [dict(), *_]:
                output.write(f"{indent}{key}:")
                for item in value:
                    _write(item, f"{indent}  ")
                    output.write("")
            case dict():
                output.write(f"{indent}{key}:")
                _write(value, f"{indent}  ")
            case list():
                output.write(f"{indent}{key:<{width}}  {', '.join(map(escape, value)) or '-'}")
            case _:
                output.write(f"{indent}{key:<{width}}  {escape(str(value or '-'))}")
