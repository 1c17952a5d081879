"""`pluginhost info`: all that is known of a plugin without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from pluginhost import discovery
from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, not_a_wheel, plugin_options, survey_of
from pluginhost.discovery import MANIFEST
from pluginhost.errors import escape
from pluginhost.metadata import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from pluginhost.entries import Entry
    from pluginhost.manager import PluginManager
    from pluginhost.survey import Distribution


@click.command()
@click.argument("name", metavar="NAME|PATH.whl", shell_complete=complete_name)
@plugin_options
def info(host: Host, name: str) -> None:
    """Tells all that is known of a plugin, or of the plugins in a wheel file; imports nothing of them."""
    manager = host.manager()
    facts = _wheel_facts(name, manager) if name.endswith(".whl") else _facts(manager.entry(name))
    if host.as_json:
        output.write_json(facts)
    else:
        _write(facts)


def _facts(entry: Entry) -> dict[str, object]:
    row = entry.row
    return row.to_dict() | {"name": entry.name, "passed": row.passed} | about(row.candidate.distribution)


def _wheel_facts(path: str, manager: PluginManager) -> dict[str, object]:
    """Returns what a wheel says of itself, and the rows that its plugins would have if it were installed here."""
    survey = survey_of(manager, path)
    # What is not a wheel, or not safe to read, says so in its findings.
    found = discovery.read_archive(path) if survey else []
    if len(found) != 1:
        why = str(next(iter(survey.findings), f"{path} is not a wheel file"))
        raise not_a_wheel(path, why)
    wheel = found[0]
    return {"distribution": wheel.name, "version": wheel.version, "origin": path} | about(wheel) | survey.to_dict()


def about(distribution: Distribution) -> dict[str, object]:
    """Returns what a distribution's metadata and manifest tell beside its plugins.

    Args:
        distribution: An installed one, or the one in a wheel file.

    Returns:
        `summary`, `author`, `license`, `homepage`, all text; `built_against` (package, version, fingerprint) and
        `provides` (package, fingerprint), `None` where there is no manifest.
    """
    import importlib_metadata  # the other subcommands start without it

    found = list(importlib_metadata.distributions(name=distribution.name, path=[distribution.origin]))
    fields = [(key.lower(), str(value)) for each in found for key, value in cast("Message", each.metadata).items()]
    first = dict(reversed(fields))
    urls = [value.partition(", ") for key, value in fields if key == "project-url"]
    homepage = next((url for label, _, url in urls if label.lower() == "homepage"), "")
    stamp = next((each.read_text(MANIFEST) for each in found), None)
    manifest = parse_manifest(stamp.encode()) if stamp else None
    return {
        "summary": first.get("summary", ""),
        "author": first.get("author") or first.get("author-email", ""),
        "license": first.get("license-expression") or first.get("license", ""),
        "homepage": first.get("home-page") or homepage,
        "built_against": manifest
        and manifest.api
        and {"package": manifest.api, "version": manifest.version, "fingerprint": manifest.fingerprint},
        "provides": manifest
        and manifest.provides
        and {"package": manifest.provides, "fingerprint": manifest.provides_fingerprint},
    }


def _write(facts: Mapping[str, object], indent: str = "") -> None:
    """Prints facts a line each; what is nested follows its heading."""
    width = max(map(len, facts))
    for key, value in facts.items():
        nested = value if isinstance(value, list) else [value] if value and isinstance(value, dict) else []
        if nested and isinstance(nested[0], dict):
            output.write(f"{indent}{key}:")
            for number, item in enumerate(nested):
                if number:
                    output.write("")
                _write(item, f"{indent}  ")
        else:
            text = ", ".join(value) if isinstance(value, list) else str(value or "")
            output.write(f"{indent}{key:<{width}}  {escape(text) or '-'}")
