"""What the command prints: columns, JSON, and nothing that a terminal would obey."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pluginhost.errors import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pluginhost.errors import Finding


def write(text: str, *, err: bool = False) -> None:
    """Prints a line; what the stream's encoding does not have is escaped, never an error."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def write_json(data: object) -> None:
    """Prints JSON, indented; what is not JSON's own is printed as its representation."""
    import msgspec

    write(msgspec.json.format(msgspec.json.encode(data, enc_hook=repr)).decode())


def write_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on a terminal, aligned columns without blanks in a pipe."""
    cells = [[escape(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console  # a pipe does without it
        from rich.table import Table
        from rich.text import Text

        table = Table(*header, box=None, header_style="bold", pad_edge=False)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write_findings(findings: Iterable[tuple[str, Finding]]) -> None:
    """Prints findings, each with whom it is about, apart from the output proper."""
    for about, finding in findings:
        write(f"\n{escape(about)}: {finding}" if about else f"\n{finding}", err=True)
