"""`pluginhost proto`: a contract as the `.proto` file from which programs in other languages implement it."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from pluginhost.cli import output
from pluginhost.errors import ConfigurationError, Finding, escape
from pluginhost.goplugin import require
from pluginhost.identity import import_contracts


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in import_contracts(ctx.params["api"]) if name.startswith(incomplete)]
    except Exception:  # of an API that cannot be imported, the command itself will tell
        return []


@click.command()
@click.argument("name", metavar="CONTRACT", shell_complete=_complete)
@click.option(
    "--api", metavar="NAME", default="pluginapi", show_default=True,
    help="The API package that has the contract.", is_eager=True,
)  # fmt: skip
@click.option("--output", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write it to a file.")
def proto(name: str, api: str, target: Path | None) -> None:
    """Prints the .proto file of a contract, from which a program in another language implements it.

    That of Plugin is the service that each such program serves beside its contracts.
    """
    contracts = import_contracts(api)
    if name not in contracts:
        near = difflib.get_close_matches(name, contracts, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(sorted(contracts))}"
        raise ConfigurationError(Finding("contract-unknown", f"the API {api!r} has no contract {name!r}", hint))
    text = _text(contracts[name])
    if target is None:
        output.write(text.removesuffix("\n"))
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    except OSError as exc:
        what = f"{target} cannot be written: {exc.strerror}"
        raise ConfigurationError(Finding("target-unwritable", what, "choose another --output")) from exc
    output.write(escape(f"{target}: {name}"))


def _text(contract: type) -> str:
    require("`pluginhost proto`")
    from pluginapi import Plugin
    from pluginhost.goplugin.proto import PLUGIN, file_of  # the other subcommands start without protobuf

    return (PLUGIN if contract is Plugin else file_of(contract)).text
