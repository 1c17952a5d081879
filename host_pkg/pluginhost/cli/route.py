"""`pluginhost route`: which plugins serve the routes of running hosts, and what an operator changes of that."""

from __future__ import annotations

import sys
from operator import itemgetter
from typing import TYPE_CHECKING

import click

from pluginhost.cli import output
from pluginhost.cli.control import host_option, json_option
from pluginhost.cli.options import complete_name
from pluginhost.errors import PluginHostError, escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from click.shell_completion import CompletionItem
    from rich.console import Group

    from pluginhost.cli.answers import State
    from pluginhost.settings import Rule
    from pluginhost.status import RouteStatus, SideStatus

HEADER: Final = (
    "HOST", "ROUTE", "CONTRACT", "DEFAULT", "SHARES", "OFF", "CANARY", "TRIED", "BASELINE", "FALLBACKS", "VERDICT",
)  # fmt: skip
COUNTS: Final = slice(7, 10)
"""The columns that change with each call."""
_NARROW: Final = itemgetter(0, 1, 3, 4, 5, 6, 9)
"""The columns for which a terminal has the room."""


def _complete_route(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Returns the names of the routes of running hosts that begin as what was typed."""
    from pluginhost.cli import hosts  # the other subcommands start without what only these need

    try:
        known, _ = hosts.states(hosts.hosts(ctx.params.get("host")))
    except PluginHostError:  # the command itself will tell
        return []
    names = {route.route for state in known.values() for route in state.routes}
    return [name for name in sorted(names) if name.startswith(incomplete)]


def _shares(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for value in values:
        plugin, _, percent = value.rpartition("=")
        if plugin in shares:
            raise click.BadParameter(f"{plugin!r} has two shares.")
        try:
            shares[plugin] = float(plugin and percent)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a plugin and its percent, such as english=5.") from None
    return shares


@click.command()
@click.argument("name", required=False, shell_complete=_complete_route)
@click.option(
    "--default", metavar="PLUGIN", shell_complete=complete_name, help="Who serves where nothing else decides."
)
@click.option(
    "--share", "weights", multiple=True, metavar="PLUGIN=PERCENT", callback=_shares, shell_complete=complete_name,
    help="A share of the calls that goes to another; 0 takes it away. May be given several times.",
)  # fmt: skip
@click.option("--off", multiple=True, metavar="PLUGIN", shell_complete=complete_name, help="Send it no calls.")
@click.option("--on", multiple=True, metavar="PLUGIN", shell_complete=complete_name, help="Send it calls again.")
@click.option("--promote", is_flag=True, help="Have the canary serve in place of the default.")
@click.option("--roll-back", is_flag=True, help="Send the canary no more calls.")
@host_option
@json_option
def route(
    name: str | None,
    default: str | None,
    weights: dict[str, float],
    off: tuple[str, ...],
    on: tuple[str, ...],
    promote: bool,
    roll_back: bool,
    host: str | None,
    as_json: bool,
) -> None:
    """Shows the routes of running hosts, or one of them in full; with options, changes that one.

    A change holds until the route's configuration changes or the host ends. All that is given is set at once, or
    nothing; the canary is promoted or rolled back by itself.
    """
    from pluginhost.cli import hosts  # the other subcommands start without what only these need

    given = {"default": default, "weights": weights, "off": off, "on": on}
    wanted = {key: value for key, value in given.items() if value not in (None, (), {})}
    deeds = ["promote"] * promote + ["roll-back"] * roll_back + ["route"] * bool(wanted)
    if len(deeds) > 1:
        raise click.UsageError("--promote and --roll-back go with no other change.")
    if both := {*off} & {*on}:
        raise click.UsageError(f"{', '.join(sorted(both))} cannot be both --off and --on.")
    if name is None:
        if deeds:
            raise click.UsageError("Name the route that is to change.")
        _list(host, as_json=as_json)
        return
    its, found = hosts.routing(name, host)
    for do in deeds:
        found = its.reroute(do, name, wanted)
    if as_json:
        import msgspec

        output.write_json({"host": its.name, **msgspec.to_builtins(found)})
    else:
        _write(its.name, found)


def _list(only: str | None, *, as_json: bool) -> None:
    from pluginhost.cli import hosts

    known, silent = hosts.states(hosts.hosts(only))
    if as_json:
        import msgspec

        listed = [
            {"host": host.name, **msgspec.to_builtins(route)} for host, state in known.items() for route in state.routes
        ]
        output.write_json({"routes": listed, "findings": [finding.to_dict() for finding in silent.values()]})
        return
    found = [row for host, state in known.items() for row in rows(host.name, state)]
    if found and sys.stdout.isatty():
        from rich.console import Console  # a pipe does without it

        Console(highlight=False).print(view(found))
    elif found:
        output.write_columns(HEADER, found)
    elif known:
        output.write("no host has been asked for a route", err=True)
    elif not silent:
        output.write(str(hosts.unknown(only).finding), err=True)
    output.write_findings(("", finding) for finding in silent.values())


def rows(host: str, state: State) -> list[tuple[str, ...]]:
    """Returns the routes of a host, each as a row under `HEADER`."""
    return [_row(host, route) for route in state.routes]


def view(found: Sequence[tuple[str, ...]]) -> Group:
    """Returns the rows as a table that a narrow terminal has room for, and how canaries did beneath it."""
    from rich.console import Group  # a pipe does without it
    from rich.text import Text

    below = []
    for _, name, *_, canary, tried, baseline, _, verdict in found:
        if canary:
            its, others = (counts.replace("/", " of ") for counts in (tried, baseline))
            plugin = canary.partition("=")[0]
            below.append(f"\n{name}: so far {plugin} failed {its} calls, what it is held against {others}")
        if verdict:
            below.append(f"\n{name}: {verdict}")
    cells = ([cell.replace(",", ", ") for cell in _NARROW(row)] for row in found)  # where a line may end
    table = output.table(_NARROW(HEADER), cells)
    return Group(table, *(Text(escape(line, keep="\n")) for line in below))


def _row(host: str, route: RouteStatus) -> tuple[str, ...]:
    trial = route.canary
    return (
        host,
        route.route,
        route.contract.rpartition(".")[2],
        route.default,
        ",".join(_shown(route.weights)),
        ",".join(route.off),
        _canary(route),
        _failed(trial.tried) if trial else "",
        _failed(trial.baseline) if trial else "",
        str(route.fallbacks),
        route.verdict,
    )


def _shown(weights: Mapping[str, float]) -> list[str]:
    return [f"{plugin}={share:g}" for plugin, share in weights.items() if share]


def _ruled(rule: Rule) -> str:
    """Returns whom a rule is about, and who serves them."""
    when = " and ".join(f"{name}={'|'.join(texts)}" for name, texts in rule.when.items())
    return f"{when or 'all'}: {', '.join([*_shown(rule.weights), rule.use or 'default'])}"


def _canary(route: RouteStatus) -> str:
    return f"{route.canary.settings.plugin}={route.canary.settings.share:g}" if route.canary else ""


def _failed(side: SideStatus) -> str:
    """Returns how many calls failed, of how many."""
    return f"{side.failures}/{side.calls}"


def _write(host: str, route: RouteStatus) -> None:
    facts = {
        "route": route.route,
        "host": host,
        "contract": route.contract,
        "default": route.default,
        "order": ", ".join(route.order),
        "capabilities": ", ".join(route.capabilities),
        "rules": "; ".join(map(_ruled, route.rules)),
        "shares": ", ".join(_shown(route.weights)),
        "key": route.key,
        "off": ", ".join(route.off),
        "flag": route.flag,
        "canary": _canary(route),
    }
    if route.canary:
        facts["tried"] = _tried(route.canary.tried)
        facts["baseline"] = _tried(route.canary.baseline)
    facts |= {"verdict": route.verdict, "fallbacks": str(route.fallbacks)}
    width = max(map(len, facts))
    for key, value in facts.items():
        output.write(f"{key:<{width}}  {escape(value) or '-'}")
    if route.plugins:
        output.write("")
        output.write_columns(
            ("PLUGIN", "CALLS", "FAILED", "P50", "P99"),
            [
                (leg.plugin, str(leg.calls), str(leg.failures), *map(output.short_time, (leg.p50, leg.p99)))
                for leg in route.plugins
            ],
        )


def _tried(side: SideStatus) -> str:
    text = f"{side.calls} calls, {side.failures} failed"
    if side.calls == side.failures:
        return text
    return f"{text}, p50 {output.short_time(side.p50)}, p95 {output.short_time(side.p95)}"
