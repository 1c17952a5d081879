"""The hosts that run and offer a control socket, as a command reaches them; the other end is `control`."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pluginhost import control
from pluginhost.cli.answers import Done, State
from pluginhost.errors import Finding, PluginHostError, escape
from pluginhost.status import RouteStatus
from pluginhost.validation import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Final

T = TypeVar("T")

_SOCKET: Final = re.compile(r"(\d+)-(\d+)\.sock")
_LONGEST: Final = 16 << 20
"""Bytes of a reply at most."""


class Reply(msgspec.Struct):
    """A host's answer."""

    ok: object = None
    findings: list[dict[str, str]] = []


class Gone(Exception):
    """The host has ended; what was left of its socket is removed."""


class RunningHost:
    """A host that runs, or did so a moment ago.

    Attributes:
        name: What it is called: its process, and which of the hosts there it is.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path

    def is_called(self, name: str) -> bool:
        """Returns whether a name means it: its own, or its process alone."""
        return name in (self.name, self.name.partition("-")[0])

    def state(self) -> State:
        """Returns how it is.

        Raises:
            PluginHostError: It does not answer.
            Gone: It has ended.
        """
        return self._ask({"do": "ps"}, State, control.PATIENCE)

    def act(self, do: str, names: Sequence[str]) -> Done:
        """Returns what it did with plugins; it may take its time.

        Raises:
            PluginHostError: As it says, or it does not answer.
        """
        return self._have({"do": do, "names": names}, Done)

    def reroute(self, do: str, name: str, values: Mapping[str, object]) -> RouteStatus:
        """Returns how a route is once it does what is wanted.

        Args:
            do: `route`, `promote` or `roll-back`.
            name: The route.
            values: What is set of it.

        Raises:
            PluginHostError: As it says, or it does not answer.
        """
        return self._have({"do": do, "names": [name], "set": values}, RouteStatus)

    def _have(self, request: Mapping[str, object], kind: type[T]) -> T:
        try:
            return self._ask(request, kind, None)
        except Gone:
            raise self._silent("has ended") from None

    def _ask(self, request: Mapping[str, object], kind: type[T], seconds: float | None) -> T:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(control.PATIENCE)
                self._connect(connection)
                connection.sendall(json.dumps(request).encode() + b"\n")
                connection.settimeout(seconds)
                with connection.makefile("rb") as answer:
                    line = answer.readline(_LONGEST)
        except OSError as exc:
            raise self._silent(f"does not answer: {exc.strerror or exc}") from exc
        if not line:
            raise self._silent("gave no answer: it has ended, or its log says why")
        try:
            reply = msgspec.convert(json.loads(line), Reply)
            if reply.findings:
                raise PluginHostError(*map(finding, reply.findings))
            return msgspec.convert(reply.ok, kind)
        except (ValueError, TypeError, RecursionError) as exc:
            raise self._silent(f"answers what is not understood: {exc}", "control-malformed") from exc

    def _connect(self, connection: socket.socket) -> None:
        try:
            connection.connect(os.fspath(self._path))
        except FileNotFoundError:
            raise Gone from None
        except ConnectionRefusedError:  # it was killed
            self._path.unlink(missing_ok=True)
            raise Gone from None
        if not control.is_own(connection):
            raise PermissionError("it is another user's")

    def _silent(self, what: str, code: str = "host-silent") -> PluginHostError:
        return PluginHostError(Finding(code, f"the host {self.name} {what}", "ask again later; next: pluginhost ps"))


def finding(fields: dict[str, str]) -> Finding:
    """Returns a finding as a host tells it."""
    return Finding(**fields)  # type: ignore[arg-type]  # its codes may be those of a later version


def hosts(only: str | None = None) -> list[RunningHost]:
    """Returns the hosts that have a socket, by their process; some of them may have ended.

    Args:
        only: What the host that is wanted is called; `None` for all.

    Raises:
        PluginHostError: The folder of the sockets is not this user's alone.
    """
    try:
        folder = control.folder()
        found = [path for path in folder.iterdir() if _SOCKET.fullmatch(path.name) and _is_socket(path)]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise PluginHostError(
            Finding("host-unknown", f"hosts cannot be looked for: {exc}", "mend that folder")
        ) from exc
    found.sort(key=lambda path: [int(number) for number in path.stem.split("-")])
    return [host for host in map(RunningHost, found) if only is None or host.is_called(only)]


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def states(found: Iterable[RunningHost]) -> tuple[dict[RunningHost, State], dict[RunningHost, Finding]]:
    """Returns how hosts are, and those that do not answer; those that have ended are left out."""
    known, silent = {}, {}
    for host in found:
        try:
            known[host] = host.state()
        except PluginHostError as exc:
            silent[host] = exc.finding
        except Gone:
            continue
    return known, silent


def host_of(names: Sequence[str], only: str | None = None) -> RunningHost:
    """Returns the one host that has plugins.

    Args:
        names: The plugins' names.
        only: What it is called; `None` for any.

    Raises:
        PluginHostError: There is none, or there are several.
    """
    known, silent = states(hosts(only))
    having = [host for host, state in known.items() if all(_has(state, name) for name in names)]
    if not having and only is not None and len(known) == 1:
        return next(iter(known))  # it may start what it has not been asked for yet
    if having:
        return _only(having, ", ".join(names))
    if silent:
        raise PluginHostError(*silent.values())
    raise unknown(only) if not known else _without(names, known)


def routing(name: str, only: str | None = None) -> tuple[RunningHost, RouteStatus]:
    """Returns a route, and the one host that has it.

    Args:
        name: The route's name.
        only: What the host is called; `None` for any.

    Raises:
        PluginHostError: There is none, or there are several.
    """
    known, silent = states(hosts(only))
    having = {host: route for host, state in known.items() for route in state.routes if route.route == name}
    if having:
        host = _only([*having], f"the route {name}")
        return host, having[host]
    if silent:
        raise PluginHostError(*silent.values())
    if not known:
        raise unknown(only)
    there = sorted({route.route for state in known.values() for route in state.routes})
    hint = suggestion(name, there) if there else "a host has a route once its application calls manager.route"
    raise PluginHostError(
        Finding("host-unknown", f"no host has a route called {name}", f"{hint}; next: pluginhost route")
    )


def _only(having: list[RunningHost], what: str) -> RunningHost:
    """Returns the host that has something.

    Raises:
        PluginHostError: There are several.
    """
    if len(having) == 1:
        return having[0]
    called = ", ".join(host.name for host in having)
    hint = f"say which one: --host {having[0].name}"
    raise PluginHostError(Finding("host-several", f"several hosts have {what}: {called}", hint))


def _has(state: State, name: str) -> bool:
    return any(plugin.goes_by(name) for plugin in state.plugins)


def unknown(only: str | None) -> PluginHostError:
    """Returns the error that no host is there."""
    what = f"no host is called {only}" if only else "no host runs that can be asked"
    hint = "a host can be asked if `control = true` is set for it, by the user that it runs as; next: pluginhost ps"
    return PluginHostError(Finding("host-unknown", what, hint))


def _without(names: Sequence[str], known: dict[RunningHost, State]) -> PluginHostError:
    what = f"no host has been asked for {' and '.join(names)}"
    hint = f"name a plugin that runs, or a host: --host {next(iter(known)).name}; next: pluginhost ps"
    return PluginHostError(Finding("host-unknown", escape(what), hint))
