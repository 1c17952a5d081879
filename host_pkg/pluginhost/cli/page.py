"""The page of `pluginhost profile --html`: one file, which loads nothing and runs nothing."""

from __future__ import annotations

import datetime
import html
import math
import platform
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from pluginhost.errors import escape
from pluginhost.importtime import Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from pluginhost.profile import Profile, Run, Stage

_TICKS: Final = 6
_SMALLEST: Final = 0.003
"""The part of a plugin's time below which an import has no line of its own; nobody could see its bar."""

_THINNEST: Final = 0.001
"""The part of the axis below which a stage has no bar, unless it is the plugin's longest."""

_LABELLED: Final = 0.92
"""The part of an axis that has labels."""

_MOST: Final = 400
"""Lines of imports of one plugin."""


def render(profiles: Sequence[Profile], group: str, repeat: int) -> str:
    """Returns the page.

    Args:
        profiles: What was measured, in the order in which it is shown.
        group: The entry-point group.
        repeat: How often each was started.
    """
    longest = max((profile.total for profile in profiles), default=0.0) * 1e6
    axis = _Axis(longest)
    facts = (
        f"{len(profiles)} {'plugin' if len(profiles) == 1 else 'plugins'} of {group}",
        f"Python {platform.python_version()}",
        f"pluginhost {version('pluginhost')}",
        f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}",
        f"{repeat} starts each" if repeat > 1 else "1 start each",
    )
    return Template(Path(__file__).with_name("profile.html").read_text("utf-8")).substitute(
        title="What each plugin's start costs",
        facts=" · ".join(map(_text, facts)),
        tick=axis.tick,
        axis=axis.labels(),
        rows="\n".join(_row(profile, axis) for profile in profiles),
    )


class _Axis:
    """A scale of microseconds, from 0 to a little more than the longest."""

    def __init__(self, longest: float) -> None:
        self.end = max(longest * 1.02, 1.0)
        rough = self.end / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        self._step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        self.tick = self._percent(self._step)

    def labels(self) -> str:
        """Returns the times at the lines, as elements; there is no room for one at the very end."""
        values = (number * self._step for number in range(math.floor(self.end * _LABELLED / self._step) + 1))
        return "".join(f'<b style="left: {self._percent(value)}">{self._label(value)}</b>' for value in values)

    def _label(self, microseconds: float) -> str:
        unit, length = ("s", 1e6) if self._step >= 1e6 else ("ms", 1e3)
        return f"{microseconds / length:g} {unit}"

    def bar(self, kind: str, start: float, length: float, title: str = "") -> str:
        """Returns a bar as an element; what would stand beyond the end ends there."""
        start = min(start, self.end)
        style = f"left: {self._percent(start)}; width: {self._percent(min(length, self.end - start))}"
        told = f' title="{_text(title)}"' if title else ""
        return f'<i class="{kind}" style="{style}"{told}></i>'

    def _percent(self, microseconds: float) -> str:
        return f"{microseconds / self.end * 100:.3f}%"


def _row(profile: Profile, axis: _Axis) -> str:
    """Returns a plugin's line, and within it those of its imports."""
    row = profile.row
    of = f"{row.name}, {row.distribution} {row.version}: {row.entry_point}"
    name = f'<div class="name" title="{_text(of)}">{_text(row.name)}<small>{_text(row.distribution)}</small></div>'
    if profile.run is None:
        told = "".join(
            f"<div><code>{_text(finding.code)}</code>{_text(finding.message)}</div>" for finding in profile.findings
        )
        return f'<div class="row failed">{name}<div class="message">{told}</div></div>'
    run, begin, bars = profile.run, 0.0, []
    for stage, seconds in run.seconds.items():
        if seconds >= min(axis.end * _THINNEST / 1e6, max(run.seconds.values())):
            bars.append(axis.bar(stage, begin, seconds * 1e6, f"{_LABELS[stage]}: {_ms(seconds * 1e6)} ms"))
        begin += seconds * 1e6
    numbers = "".join(f'<div class="number stage">{_quiet(seconds * 1e6)}</div>' for seconds in run.seconds.values())
    return (
        f'<details><summary class="row">{name}{numbers}<div class="number total">{_ms(run.total * 1e6)}</div>'
        f'<div class="number">{run.modules:,}</div><div class="track">{"".join(bars)}</div></summary>\n'
        f"{_modules(profile, run)}</details>"
    )


_LABELS: Final = {"import": "import", "new": "New()", "init": "init"}


def _modules(profile: Profile, run: Run) -> str:
    """Returns the imports of a plugin, on a scale of their own."""
    axis = _Axis(run.total * 1e6)
    found = list(_steps(profile, run))
    costly = sorted((module.cumulative for _, module in found), reverse=True)[:_MOST]
    smallest = max(run.total * 1e6 * _SMALLEST, costly[-1] if len(costly) == _MOST else 0)
    shown = [(stage, module) for stage, module in found if module.cumulative >= smallest][:_MOST]
    more = ""
    if left := len(found) - len(shown):
        more = f"<p>{left:,} more took less than {_ms(smallest)} ms each; --json has all of them.</p>"
    return (
        f'<div class="modules" style="--tick: {axis.tick}"><div class="row head"><div class="name"><span '
        f'style="--depth: 0"></span>Imports</div><div class="number">Total ms</div><div class="number">Self</div>'
        f'<div class="track">{axis.labels()}</div></div>\n'
        + "\n".join(_module(stage, module, axis) for stage, module in shown)
        + f"{more}</div>"
    )


def _steps(profile: Profile, run: Run) -> Iterator[tuple[Stage, Module]]:
    """Yields the imports of all stages in their order, each stage but the import's own after a line for itself."""
    begin = 0
    for stage, seconds in run.seconds.items():
        took, imports = round(seconds * 1e6), run.imports[stage]
        depth = 0 if stage == "import" else 1
        if depth and took:
            within = sum(module.cumulative for module in imports if not module.depth)
            name = f"{profile.row.candidate.factory}()" if stage == "new" else "init()"
            yield stage, Module(name, 0, begin, took, max(0, took - within))
        for module in imports:
            yield stage, module._replace(depth=module.depth + depth, start=module.start + begin)
        begin += took


def _module(stage: Stage, module: Module, axis: _Axis) -> str:
    title = f"{module.name}: {_ms(module.cumulative)} ms, itself {_ms(module.own)} ms"
    end = module.start + module.cumulative
    own = axis.bar(stage, max(module.start, end - module.own), module.own, title) if module.own else ""
    return (
        f'<div class="row"><div class="name" title="{_text(title)}"><span style="--depth: {min(module.depth, 24)}">'
        f'</span>{_text(module.name)}</div><div class="number">{_ms(module.cumulative)}</div>'
        f'<div class="number quiet">{_ms(module.own)}</div><div class="track">'
        f"{axis.bar(f'whole {stage}', module.start, module.cumulative, title)}{own}</div></div>"
    )


def _quiet(microseconds: float) -> str:
    """Returns milliseconds, and where there are hardly any, so that they do not draw the eye."""
    told = _ms(microseconds)
    return f'<span class="quiet">{told}</span>' if microseconds < 1000 else told


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:,.1f}"


def _text(text: str) -> str:
    return html.escape(escape(text))
