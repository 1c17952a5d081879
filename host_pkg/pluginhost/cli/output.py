"""What the command prints: columns, JSON, and nothing that a terminal would obey."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pluginhost.errors import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from rich.table import Table

    from pluginhost.errors import Finding

    Cell: TypeAlias = str | Sequence[tuple[str, str]]
    """A text, or parts of one, each with how it looks on a terminal."""


def write(text: str, *, err: bool = False) -> None:
    """Prints a line; what the stream's encoding does not have is escaped, never an error."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def write_error(text: str) -> None:
    """Prints what went wrong, of which each line begins with what it is; a terminal shows that apart."""
    if not sys.stderr.isatty():
        write(text, err=True)
        return
    from rich.console import Console  # a pipe does without it
    from rich.text import Text

    encoding = sys.stderr.encoding or "utf-8"
    shown = Text(text.encode(encoding, "backslashreplace").decode(encoding))
    shown.highlight_regex(r"(?m)^error:", "bold red")
    shown.highlight_regex(r"(?m)^hint:", "bold")
    shown.highlight_regex(r"(?m)^next: .*", "bold")
    Console(stderr=True, highlight=False, soft_wrap=True).print(shown)  # a command that is copied is one line


def write_json(data: object) -> None:
    """Prints JSON, indented; what is not JSON's own is printed as its representation."""
    import msgspec

    write(msgspec.json.format(msgspec.json.encode(data, enc_hook=repr)).decode())


def write_columns(header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> None:
    """Prints a table on a terminal, aligned columns without blanks in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console  # a pipe does without it

        Console(highlight=False).print(table(header, rows))
        return
    plain = [["".join(text for text, _ in _escaped(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for line in plain:
        write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def table(header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> Table:
    """Returns a table for a terminal."""
    from rich.table import Table  # a pipe does without it
    from rich.text import Text

    made = Table(box=None, header_style="bold", pad_edge=False)
    for cell in header:
        made.add_column(Text.assemble(*_escaped(cell)), overflow="fold")  # a name that is cut is none
    for row in rows:
        made.add_row(*(Text.assemble(*_escaped(cell)) for cell in row))
    return made


def _escaped(cell: Cell) -> list[tuple[str, str]]:
    parts = [(cell, "")] if isinstance(cell, str) else cell
    return [(escape(text), style) for text, style in parts if text] or [("-", "")]


def short_time(seconds: float | None) -> str:
    """Returns a time with its unit; nothing for none."""
    if seconds is None:
        return ""
    unit, factor = ("s", 1) if seconds >= 1 else ("ms", 1_000) if seconds >= 0.001 else ("us", 1_000_000)
    number = seconds * factor
    return f"{number:.0f}{unit}" if number >= 10 else f"{number:.1f}{unit}"


def write_findings(findings: Iterable[tuple[str, Finding]]) -> None:
    """Prints findings, each with whom it is about, apart from the output proper."""
    for about, finding in findings:
        write(f"\n{escape(about)}: {finding}" if about else f"\n{finding}", err=True)
