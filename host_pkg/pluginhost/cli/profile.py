"""`pluginhost profile`: what each plugin's start costs, in time and in modules."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, plugin_options
from pluginhost.errors import wrong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from pluginhost.cli.output import Cell
    from pluginhost.profile import Profile
    from pluginhost.settings import Configuration
    from pluginhost.survey import Row

_WIDTHS: Final = (18, 40)
"""Of bars: that of their heading at least; at most, and in a pipe, as much as one can take in at a glance."""
_BARS: Final = {"import": ("#", "blue"), "new": ("+", "yellow"), "init": ("=", "magenta")}
"""What a stage's part of a bar is drawn with, and on a terminal in which colour."""


def _in_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Says no to a file that could not be written before anything is measured."""
    if value and not os.access(value.parent, os.W_OK):
        raise click.BadParameter(f"no file can be written in {value.parent}")
    return value


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_folder,
    help="Write a page with the waterfall of each start.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="How often each is started; told is the median.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="What one start may take.",
)
@plugin_options
def profile(host: Host, names: tuple[str, ...], html: Path | None, repeat: int, timeout: float) -> int:
    """Starts each plugin, or those NAMEd, in a process of its own, and tells what its import, New() and init took.

    The slowest is first. Ends with 1 if one could not be measured. Plugins that are programs are left out.
    """
    manager = host.manager()
    rows = [manager.row(name) for name in names]
    for row in rows:
        if row.candidate.program:
            what = f"{row.candidate} is the program {row.candidate.program!r}, of which nothing is imported"
            raise wrong(f"profile: {what}", "name plugins in Python")
    rows = rows or [row for row in manager.survey() if not row.barred and not row.candidate.program]
    if not rows:
        output.write(f"no plugins: nothing that is installed registers under {manager.group!r}", err=True)
    profiles = _measure(rows, manager.configuration, repeat, timeout)
    if html:
        from pluginhost.cli.page import render  # only where it is asked for

        html.write_text(render(profiles, manager.group, repeat), "utf-8")
    if host.as_json:
        output.write_json({"repeat": repeat, "plugins": [each.to_dict() for each in profiles]})
    elif profiles:
        _write(profiles)
    output.write_findings(("", finding) for each in profiles for finding in each.findings)
    return 1 if any(each.run is None for each in profiles) else 0


def _measure(rows: Sequence[Row], configuration: Configuration, repeat: int, timeout: float) -> list[Profile]:
    from pluginhost.profile import measure  # the other subcommands start without it

    if not sys.stderr.isatty():
        return measure(rows, configuration, repeat=repeat, seconds=timeout)
    from rich.console import Console  # a pipe does without it
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(rows) * repeat)
        return measure(rows, configuration, repeat=repeat, seconds=timeout, advance=lambda: progress.advance(task))


def _write(profiles: Sequence[Profile]) -> None:
    longest, width = max(each.total for each in profiles), _bar_width(profiles)
    legend: Cell = [(f"{mark}{stage} ", colour) for stage, (mark, colour) in _BARS.items()]
    output.write_columns(
        ("NAME", *map(_number, ("IMPORT", "NEW", "INIT", "TOTAL")), "MODULES", legend),
        [(each.row.name, *_numbers(each), _bar(each, longest, width)) for each in profiles],
    )


def _bar_width(profiles: Sequence[Profile]) -> int:
    """Returns the width of bars that a terminal does not break."""
    least, most = _WIDTHS
    if not sys.stdout.isatty():
        return most
    others = max(len(each.row.name) for each in profiles) + 4 * len(_number("")) + len("MODULES") + 6 * len("  ")
    return max(least, min(most, shutil.get_terminal_size().columns - others))


def _numbers(profile: Profile) -> list[str]:
    """Returns the milliseconds of each stage and of all, and the number of modules."""
    run = profile.run
    if run is None:
        return [_number("-")] * 4 + [f"{'-':>7}"]
    return [*(_number(f"{each * 1000:.1f}") for each in (*run.seconds.values(), run.total)), f"{run.modules:>7}"]


def _number(text: str) -> str:
    return f"{text:>8}"


def _bar(profile: Profile, longest: float, width: int) -> Cell:
    """Returns a bar of the stages, to one scale for all, or what keeps the plugin from having one."""
    if profile.run is None:
        return [(finding.code, "red") for finding in profile.findings[:1]]
    ends, bar = [0.0], []
    for stage, seconds in profile.run.seconds.items():
        ends.append(ends[-1] + seconds)
        begin, end = (round(each / longest * width) for each in ends[-2:])
        mark, colour = _BARS[stage]
        bar.append((mark * (end - begin), colour))
    return bar
