"""The control socket of a running host: what its operator asks of it, and what it answers.

Each manager has one of its own, in a folder that is this user's alone: `<pid>-<n>.sock`. Whoever connects writes one
line of JSON and reads one:

```
{"do": "reload", "names": ["english"]}
{"ok": {"plugins": [...], "seconds": 0.012, "findings": []}}      or      {"findings": [{"code": ..., ...}]}
{"do": "route", "names": ["Greeter"], "set": {"weights": {"persian": 10}, "off": ["spanish"]}}
```

The other end is `cli.hosts`. Windows has no such sockets; `config` refuses the setting there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import stat
import struct
import sys
import threading
import time
import warnings
import weakref
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pluginhost import forks
from pluginhost.errors import Finding, PluginHostError, PluginsFailed, describe, escape
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from typing import Any, Final

    from pluginhost.entries import Entry
    from pluginhost.lifecycle import Handle
    from pluginhost.reload import Reloaded
    from pluginhost.status import RouteStatus, Status

LONGEST: Final = 64 << 10
"""Bytes of a request at most."""

PATIENCE: Final = 5.0
"""Seconds in which a request must have come, and its reply must have been taken."""

_ANSWERING_SECONDS: Final = 2.0
"""For how long an end waits for the answers that are on their way: one may be of what made the application end."""

MOST: Final = 8
"""How many are answered at once."""

_NAMES: Final = {
    "ps": range(1), "reload": range(1, LONGEST), "restart": range(1, 2), "stop": range(1, 2), "start": range(1, 2),
    "rollback": range(1, 2), "route": range(1, 2), "promote": range(1, 2), "roll-back": range(1, 2),
}  # fmt: skip
"""What may be asked, and about how many plugins; the last three are about a route."""

_SET: Final = {"default": str, "weights": dict, "off": list, "on": list}
"""What may be set of a route. Who is off is told as a change: another operator may have switched off somebody else."""


class Manager(Protocol):
    """What is asked of a manager."""

    group: str

    def status(self) -> Mapping[str, Status]:
        """Returns how each plugin is that was asked for."""

    def loaded(self) -> Mapping[str, Handle]:
        """Returns the plugins that run, in the order in which they came to."""

    def start(self, name: str) -> None:
        """Starts a plugin."""

    def stop(self, name: str) -> None:
        """Stops a plugin, and before it those that use it."""

    def reload(self, name: str, *others: str) -> Reloaded:
        """Has plugins serve anew."""

    def rollback(self, name: str) -> Reloaded:
        """Has a plugin's generation before serve again."""

    def entry(self, name: str) -> Entry:
        """Returns what goes by a name."""

    def routes(self) -> Mapping[str, RouteStatus]:
        """Returns how each route is."""

    def reroute(self, name: str, changes: Mapping[str, object]) -> None:
        """Has a route decide otherwise."""

    def settle(self, name: str, *, is_good: bool) -> None:
        """Ends the trial of a route's canary."""

    def tell(self, finding: Finding) -> None:
        """Tells of what goes wrong."""


class Request(NamedTuple):
    """What an operator wants: a key of `_NAMES`, the plugins or the route that it is about, and what is set of that."""

    do: str
    names: list[str]
    set: Mapping[str, Any]


def parse(line: bytes) -> Request:
    """Returns what a line asks for.

    Raises:
        PluginHostError: It is no request.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise _malformed(f"is not JSON: {describe(exc)}") from exc
    if not isinstance(data, dict) or not {"do"} <= data.keys() <= {"do", "names", "set"}:
        raise _malformed("is not an object with `do`, `names` and `set`")
    do, names = data["do"], data.get("names", [])
    if not isinstance(do, str) or do not in _NAMES:
        raise _malformed(f"asks for what there is not: `do` is none of {', '.join(_NAMES)}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _malformed("has `names` that are no list of text")
    if len(names) not in _NAMES[do]:
        raise _malformed(f"names {len(names)} of what {do} is about, which is not what it takes")
    values = data.get("set", {})
    if not _is_settable(values) or bool(values) is not (do == "route"):
        raise _malformed(f"has a `set` that {do} does not take")
    return Request(do, names, values)


def _is_settable(values: object) -> bool:
    """Returns whether values are of the kinds that a route takes; which of them are possible, the manager says."""
    if not isinstance(values, dict) or not all(isinstance(value, _SET.get(key, ())) for key, value in values.items()):
        return False
    names, shares = (*values.get("off", ()), *values.get("on", ())), values.get("weights", {}).values()
    return all(isinstance(name, str) for name in names) and all(type(share) in (int, float) for share in shares)


def folder(*, make: bool = False) -> Path:
    """Returns the folder in which hosts of this user have their sockets.

    Args:
        make: Whether it is made.

    Raises:
        OSError: It cannot be made, or others could have put something into it; or, unless it is made, is not there.
    """
    import platformdirs

    with warnings.catch_warnings(action="ignore"):  # that XDG_RUNTIME_DIR is not set is no news to who runs a service
        path = platformdirs.user_runtime_path(ensure_exists=make) / "pluginhost"
    if make:
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder that only its user may write to")
    return path


def is_own(connection: socket.socket) -> bool:
    """Returns whether the other end is a process of the same user; where the system does not say, the folder does."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = struct.Struct("3i")
    _, user, _ = peer.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, peer.size))
    return bool(user == os.geteuid())


def serve(manager: Manager) -> Control | None:
    """Returns the control socket of a manager, which answers; `None` where it can have none, which is told."""
    try:
        return Control(manager)
    except OSError as exc:
        hint = "the host runs on; mend what the message says and start it anew, or leave `control` out"
        manager.tell(Finding("control-unavailable", f"the host has no control socket: {describe(exc)}", hint))
        return None


class Control:
    """The control socket of one manager, until that is closed, dropped, or its process ends.

    It does not hold its manager. A copy of the process made by fork neither answers nor removes the socket.

    Attributes:
        path: Where it is.
        close: Ends it; a second call does nothing.
    """

    def __init__(self, manager: Manager) -> None:
        """Opens it.

        Raises:
            OSError: It cannot be.
        """
        self._of = weakref.ref(manager)
        self._process = os.getpid()
        self._title = escape(sys.argv[0]) if sys.argv and isinstance(sys.argv[0], str) else ""
        self._since = time.time()
        self._busy: dict[socket.socket, HostThread] = {}
        self._rerouting = threading.Lock()
        self._listener, self.path = _bound(folder(make=True), self._process)
        self._bell, self._rung = socket.socketpair()
        self._thread = HostThread(target=self._listen, name="pluginhost: control", daemon=True)
        self.close: Callable[[], object] = weakref.finalize(manager, self._end)
        forks.tell(self)
        self._thread.start()

    def _end(self) -> None:
        if os.getpid() != self._process:
            return
        with contextlib.suppress(OSError):  # somebody tidied up
            self.path.unlink()
        self._bell.close()
        if threading.current_thread() is not self._thread:  # where the manager may be dropped, as anywhere
            self._thread.join(PATIENCE)
        until = time.monotonic() + _ANSWERING_SECONDS
        for operator in list(self._busy.values()):
            if operator is not threading.current_thread():
                with contextlib.suppress(RuntimeError):  # it has not begun
                    operator.join(max(0.0, until - time.monotonic()))

    def forked(self) -> None:
        # What the copy held open would go on taking connections once the host has ended.
        for end in (self._listener, self._bell, self._rung, *self._busy):
            end.close()

    def _listen(self) -> None:
        with self._listener, self._rung:
            ready = select.poll()
            ready.register(self._listener, select.POLLIN)
            ready.register(self._rung, select.POLLIN)
            while self._rung.fileno() not in {descriptor for descriptor, _ in ready.poll()}:
                try:
                    self._take(self._listener.accept()[0])
                except (OSError, RuntimeError):  # it is gone again, or there are no descriptors or threads left
                    time.sleep(0.1)

    def _take(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        if len(self._busy) >= MOST:
            with connection:
                what = f"the host of process {self._process} answers {MOST} others at the moment"
                _send(connection, _failed([Finding("host-silent", what, "ask again later")]))
            return
        operator = HostThread(target=self._attend, args=(connection,), name="pluginhost: an operator", daemon=True)
        self._busy[connection] = operator
        try:
            operator.start()
        except RuntimeError:
            self._leave(connection)
            raise

    def _leave(self, connection: socket.socket) -> None:
        connection.close()
        self._busy.pop(connection, None)

    def _attend(self, connection: socket.socket) -> None:
        try:
            if is_own(connection):
                _send(connection, self._reply(connection))
        except OSError:
            pass  # who asked is gone
        finally:
            self._leave(connection)

    def _reply(self, connection: socket.socket) -> dict[str, object]:
        try:
            request = parse(_line(connection))
            if (manager := self._of()) is None:
                raise PluginHostError(Finding("manager-closed", "the manager is gone", "ask another host"))
            return {"ok": self._answer(manager, request)}
        except PluginHostError as exc:
            return _failed((exc.finding, *exc.more))

    def _answer(self, manager: Manager, request: Request) -> dict[str, object]:
        match request.do:
            case "ps":
                return self._ps(manager)
            case "route" | "promote" | "roll-back":
                with self._rerouting:  # what one operator sets is not lost by what another does
                    return _route(manager, request)
        return _act(manager, request)

    def _ps(self, manager: Manager) -> dict[str, object]:
        runs = manager.loaded()
        plugins = [
            {**status.to_dict(), "plugin": name, "isolation": _isolation(runs.get(name))}
            for name, status in manager.status().items()
        ]
        return {
            "pid": self._process,
            "title": self._title,
            "group": manager.group,
            "since": self._since,
            "plugins": plugins,
            "routes": [route.to_dict() for route in manager.routes().values()],
        }


def _isolation(handle: Handle | None) -> str | None:
    return handle.settings.isolation if handle and handle.settings else None


def _bound(folder: Path, process: int) -> tuple[socket.socket, Path]:
    """Returns a socket that takes connections, and its path: the first of this process that is free."""
    for number in count(1):
        path = folder / f"{process}-{number}.sock"
        # Under a name that nobody looks for, until it takes connections: what refuses them is removed as a leftover.
        draft = path.with_name(f"{path.name}~")
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(os.fspath(draft))
            if not path.exists():
                draft.chmod(0o600)
                listener.listen(MOST)
                draft.rename(path)
                return listener, path
            draft.unlink()
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:  # another manager of this process is just there
                listener.close()
                raise
        listener.close()
    raise AssertionError("there is no last number")


def _line(connection: socket.socket) -> bytes:
    """Returns the line that a client writes.

    Raises:
        PluginHostError: It is too long, or has no end in time.
    """
    line, until = b"", time.monotonic() + PATIENCE
    while b"\n" not in line:
        connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            more = connection.recv(LONGEST)
        except TimeoutError:
            raise _malformed(f"has not ended after {PATIENCE:.0f} s") from None
        if not more:
            raise _malformed("does not end with a newline")
        line += more
        if len(line) > LONGEST:
            raise _malformed(f"has more than {LONGEST:,} bytes")
    return line.partition(b"\n")[0]


def _send(connection: socket.socket, reply: Mapping[str, object]) -> None:
    connection.settimeout(PATIENCE)
    # An application may have SIGPIPE as it was, and must not end when an operator does.
    connection.sendall(json.dumps(reply).encode() + b"\n", getattr(socket, "MSG_NOSIGNAL", 0))


def _failed(findings: Iterable[Finding]) -> dict[str, object]:
    return {"findings": [finding.to_dict() for finding in findings]}


def _malformed(what: str) -> PluginHostError:
    hint = "`pluginhost` of the host's own environment speaks as the host does"
    return PluginHostError(Finding("control-malformed", f"the request {what}", hint))


def _act(manager: Manager, request: Request) -> dict[str, object]:
    """Returns what became of what an operator wanted.

    Raises:
        PluginHostError: It cannot be, or did not end well.
    """
    before, began = manager.status(), time.perf_counter()
    plugins: list[str] = []
    findings: list[Finding] = []
    seconds = None
    match request:
        case Request("reload", names):
            plugins, seconds, findings = manager.reload(*names)
        case Request("rollback", [name]):
            plugins, seconds, findings = manager.rollback(name)
        case Request("stop", [name]):
            plugins = _ending(manager, name)
            manager.stop(name)
        case Request("start", [name]):
            manager.start(name)
            plugins = [own for own, handle in manager.loaded().items() if _goes_by(own, handle, name)]
        case Request("restart", [name]):
            plugins = _restart(manager, name)
    if seconds is None:
        seconds = time.perf_counter() - began
    changes = [
        {
            "plugin": plugin,
            "before": before[plugin].version if plugin in before else None,
            "version": now.version,
            "generation": now.generation,
            "state": now.state,
        }
        for plugin, now in manager.status().items()
        if plugin in plugins
    ]
    return {"plugins": changes, "seconds": seconds, "findings": [finding.to_dict() for finding in findings]}


def _restart(manager: Manager, name: str) -> list[str]:
    """Stops a plugin and those that use it, and starts them again, in order; returns their names.

    Raises:
        PluginsFailed: Some did not start; the others run.
    """
    ending = _ending(manager, name)
    manager.stop(name)
    known = manager.status()  # without guests: whoever has one makes it anew
    again = [plugin for plugin in ending if plugin in known] or [name]
    errors = {}
    for plugin in again:
        try:
            manager.start(plugin)
        except PluginHostError as exc:
            errors[plugin] = exc
    if errors:
        raise PluginsFailed(errors)
    return again


def _ending(manager: Manager, name: str) -> list[str]:
    """Returns which plugins end when one is stopped, in the order of their start; nothing when it does not run."""
    runs = manager.loaded()
    ending = {plugin: handle for plugin, handle in runs.items() if _goes_by(plugin, handle, name)}
    while users := {
        plugin: handle
        for plugin, handle in runs.items()
        if plugin not in ending and any(need in ending.values() for need in handle.needs)
    }:
        ending |= users
    return [plugin for plugin in runs if plugin in ending]


def _goes_by(plugin: str, handle: Handle, name: str) -> bool:
    """Returns whether a plugin is meant by a name; `NAME@DISTRIBUTION` names each."""
    return name in (plugin, f"{handle.name}@{handle.candidate.distribution.name}")


def _route(manager: Manager, request: Request) -> dict[str, object]:
    """Returns how a route is once it does what an operator wanted.

    Raises:
        PluginHostError: It cannot.
    """
    [name] = request.names
    if request.do == "route":
        manager.reroute(name, _changes(manager, name, request.set))
    else:
        manager.settle(name, is_good=request.do == "promote")
    return manager.routes()[name].to_dict()


def _changes(manager: Manager, name: str, values: Mapping[str, Any]) -> dict[str, object]:
    """Returns what is to be set of a route.

    Raises:
        PluginHostError: A plugin that is to serve may not run, or there is no such plugin: whoever mistypes a name
            would else believe that it is off, or send calls nowhere.
    """
    changes = {key: values[key] for key in ("default", "weights") if key in values}
    if (route := manager.routes().get(name)) is None:
        return changes  # which the manager refuses
    weights = values.get("weights", {})
    known, off = manager.status(), {*route.off}
    for plugin in sorted({*values.get("off", ()), *values.get("on", ()), *weights} - {*known, *off, *route.weights}):
        manager.entry(plugin)
    serving = {values.get("default", ""), *(plugin for plugin in weights if weights[plugin])}
    for plugin in sorted(serving - {"", *manager.loaded()}):
        manager.entry(plugin).require_ready()
    if "off" in values or "on" in values:
        changes["off"] = sorted(off.union(values.get("off", ())).difference(values.get("on", ())))
    return changes
