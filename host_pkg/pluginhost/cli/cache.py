"""`pluginhost cache`: where the index of surveys and the store of plugins are, and how to be rid of them."""

from __future__ import annotations

import click

from pluginhost import index, store
from pluginhost.cli import output


@click.command()
@click.option("--clear", is_flag=True, help="Remove all of it; the next survey makes it anew.")
@click.option("--prune", is_flag=True, help="Remove what would not be used again.")
def cache(clear: bool, prune: bool) -> None:
    """Tells where the index of surveys, the unpacked wheels and the copies of plugins are, and how large they are."""
    if clear or prune:
        folders = store.clear() if clear else store.prune()
        files = index.clear() if clear else index.prune()
        output.write(f"{files} files removed" + (f", {folders} wheels and copies" if folders else ""))
        return
    files, size = index.size()
    output.write(f"{index.folder()}: {files} files, {size:,} bytes")
    folders, size = store.size()
    if folders:
        output.write(f"{index.store_folder()}: {folders} wheels and copies, {size:,} bytes")
