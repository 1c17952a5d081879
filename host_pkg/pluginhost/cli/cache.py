"""`pluginhost cache`: where the index of surveys is kept, and how to be rid of it."""

from __future__ import annotations

import click

from pluginhost import index
from pluginhost.cli import output


@click.command()
@click.option("--clear", is_flag=True, help="Remove all of it; the next survey makes it anew.")
@click.option("--prune", is_flag=True, help="Remove what would not be used again.")
def cache(clear: bool, prune: bool) -> None:
    """Tells where the index of surveys is kept, and how large it is."""
    if clear:
        output.write(f"{index.clear()} files removed")
    elif prune:
        output.write(f"{index.prune()} files removed")
    else:
        files, size = index.size()
        output.write(f"{index.folder()}: {files} files, {size:,} bytes")
