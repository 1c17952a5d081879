"""`pluginhost explain`: what a code means, how it comes about and how to mend it."""

from __future__ import annotations

import difflib

import click

from pluginhost.catalogue import CODES
from pluginhost.cli import output
from pluginhost.errors import ConfigurationError, Finding


@click.command()
@click.argument("code", shell_complete=lambda ctx, param, incomplete: [code for code in CODES if incomplete in code])
def explain(code: str) -> None:
    """Explains a code that a finding or an error carries."""
    found = CODES.get(code.strip("[]"))
    if found is None:
        near = difflib.get_close_matches(code, CODES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(CODES))}"
        raise ConfigurationError(Finding("code-unknown", f"there is no code {code!r}", hint))
    output.write(f"{code.strip('[]')} ({found.severity}, stage {found.stage})")
    for heading, text in (("meaning", found.meaning), ("cause", found.cause), ("mend", found.mend)):
        output.write(f"\n{heading}: {text}")
