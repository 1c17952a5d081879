"""One round of what an isolated plugin costs: prints the seconds of each contestant as JSON, for run.py.

All processes are held to one core, so that what is measured is work, and not how many cores share it. Contestants take
turns.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from pluginhost import PluginManager
from pluginhost.errors import PluginHostError
from synthetic import install

from pluginapi import Greeter, Handler, Request, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the tables call it, its version, and what is timed.
Contestant = tuple[str, str, "Callable[[], object]"]

TIMEOUT = 5.0
TAKES = 3
THREADS = 8
CALLS_EACH = 100
LARGE = 1 << 20
PYTHON, PLUGINHOST = platform.python_version(), version("pluginhost")
METHOD = "/benchmarks.Echo/echo"
GROUP = "benchmarks.isolated"
# What it does takes no time, so that what is measured is the way there and back.
PLUGIN = '''
from pluginapi import Handler, Response, Transformer


class Echo(Transformer, Handler):
    """Returns what it gets."""

    def transform(self, text):
        return text

    def handle(self, request):
        return Response(200, request.body)


New = Echo
'''


def ping_pong(size: int) -> Callable[[], None]:
    """Returns a function that sends so many bytes to another process, and receives as many."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__, "pong", str(theirs.fileno()), str(size)], pass_fds=[theirs.fileno()]
        )
    data, buffer = b"x" * size, memoryview(bytearray(size))

    def once() -> None:
        ours.sendall(data)
        got = 0
        while got < size:
            got += ours.recv_into(buffer[got:])

    return once


def pong(sock: socket.socket, size: int) -> None:
    """Sends back what comes, until nothing comes any more."""
    buffer = memoryview(bytearray(size))
    while True:
        got = 0
        while got < size:
            if not (more := sock.recv_into(buffer[got:])):
                return
            got += more
        sock.sendall(buffer)


def grpc_client(folder: str) -> Callable[[bytes], bytes]:
    """Returns a function that calls a server of grpcio's, which is another process, and gets back what it sends."""
    address = f"unix:{folder}/grpc"
    process = subprocess.Popen([sys.executable, __file__, "grpc", address], stdin=subprocess.PIPE)
    call = grpc.insecure_channel(address).unary_unary(METHOD)
    call(b"", timeout=TIMEOUT, wait_for_ready=True)
    # Its standard input, and with it its life, ends with that of this function.
    return functools.partial(lambda process, data: call(data, timeout=TIMEOUT), process)


def grpc_serve(address: str) -> None:
    """Sends back what comes, without serializing it, until standard input ends."""
    echo = grpc.unary_unary_rpc_method_handler(lambda data, context: data)
    service, method = METHOD.strip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: echo})])
    server.add_insecure_port(address)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


class Echo:
    """What multiprocessing's manager serves."""

    def transform(self, text: str) -> str:
        """Returns what it gets."""
        return text


class Manager(BaseManager):
    """Serves it from a process of its own."""


Manager.register("Echo", Echo)


def calls(folder: str) -> dict[str, tuple[int, list[Contestant]]]:
    """Returns, by what the tables are called, how many calls make a take and who takes part."""
    with_grpc, manager = grpc_client(folder), Manager(ctx=get_context("spawn"))
    manager.start()
    proxy: Any = manager.Echo()  # type: ignore[attr-defined]
    install(Path(folder), "echo", PLUGIN, ("pluginapi~=1.0",), {"entry_points.txt": f"[{GROUP}]\necho = echo\n"})
    sys.path.insert(0, folder)
    host = PluginManager(GROUP, probe="never", plugins={"echo": {"isolation": "process", "call_timeout": TIMEOUT}})
    echo, handler = host.get("echo", Transformer), host.get("echo", Handler)
    small, request = "x" * 64, Request("1", b"x" * LARGE)
    assert echo.transform(small) == small
    assert handler.handle(request).body == request.body

    def with_pluginhost(size: int) -> Callable[[], object]:
        return functools.partial(echo.transform, "x" * size)

    of_many: list[Contestant] = [
        ("pluginhost", PLUGINHOST, with_pluginhost(64)),
        ("grpcio, a unary call (goal: 12)", grpc.__version__, lambda: with_grpc(small.encode())),
    ]
    return {
        "a call, 64 B of text each way": (
            200,
            [
                ("a ping-pong over a blocking unix socket", PYTHON, ping_pong(64)),
                ("pluginhost, with a timeout (goal: 1.5)", PLUGINHOST, with_pluginhost(64)),
                ("multiprocessing, a manager's proxy", PYTHON, lambda: proxy.transform(small)),
                ("grpcio, a unary call (goal: 20 x pluginhost)", grpc.__version__, lambda: with_grpc(small.encode())),
            ],
        ),
        "a call, 4 KiB of text each way": (
            200,
            [
                ("a ping-pong over a blocking unix socket", PYTHON, ping_pong(4096)),
                ("pluginhost, with a timeout (goal: 1.6)", PLUGINHOST, with_pluginhost(4096)),
            ],
        ),
        "a call, 1 MiB of bytes each way": (
            10,
            [
                ("a ping-pong over a blocking unix socket", PYTHON, ping_pong(LARGE)),
                ("pluginhost, with a timeout (goal: 0.6)", PLUGINHOST, lambda: handler.handle(request)),
            ],
        ),
        f"{THREADS} threads that call at once, 64 B of text each way": (
            1,
            [(name, number, functools.partial(at_once, once)) for name, number, once in of_many],
        ),
    }


def at_once(once: Callable[[], object]) -> None:
    """Has each of some threads make its calls."""

    def run() -> None:
        for _ in range(CALLS_EACH):
            once()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def seconds(once: Callable[[], object], number: int = 1) -> float:
    """Returns the seconds that one of so many calls takes."""
    started = time.perf_counter()
    for _ in range(number):
        once()
    return (time.perf_counter() - started) / number


def isolated() -> Iterator[tuple[str, str, str, float]]:
    """Yields of each contestant its table, name and version, and the seconds of a call."""
    with tempfile.TemporaryDirectory() as folder:
        for table, (number, contestants) in calls(folder).items():
            for _, _, once in contestants:
                seconds(once, max(1, number // 10))
            takes = [[seconds(once, number) for _, _, once in contestants] for _ in range(TAKES)]
            every = THREADS * CALLS_EACH if number == 1 else 1
            for (name, of, _), times in zip(contestants, zip(*takes, strict=True), strict=True):
                yield table, name, of, statistics.median(times) / every


def isolated_start() -> Iterator[tuple[str, str, str, float]]:
    """Likewise, of a bare start of the interpreter and of a child's start."""
    table = "the process of an isolated plugin"
    bare = [sys.executable, "-c", "pass"]
    with PluginManager(probe="never") as host:  # what the application imports once
        host.get("spanish", Greeter, isolation="process").greet("Ada")
    yield table, "a bare start of the interpreter", PYTHON, seconds(lambda: subprocess.run(bare, check=True))
    spawned, killed = start(critical=False)
    yield table, "pluginhost, from `get` to the first reply (goal: 6)", PLUGINHOST, spawned
    yield table, "pluginhost, from its death to the next reply (goal: 7)", PLUGINHOST, killed
    _, killed = start(critical=True)
    yield table, "pluginhost, the same with a spare (goal: half of that)", PLUGINHOST, killed


def start(*, critical: bool) -> tuple[float, float]:
    """Returns the seconds from `get` to the first reply, and from the child's death to the next."""
    with PluginManager(probe="never", plugins={"english": {"isolation": "process", "critical": critical}}) as host:
        host.survey()
        first = seconds(lambda: host.get("english", Greeter).greet("Ada"))
        english, supervisor = host.get("english", Greeter), host.handle("english").plugin._pluginhost_peer
        while critical and (supervisor._spare is None or not supervisor._spare.pool._free):
            time.sleep(0.01)

        def answered() -> None:
            os.kill(supervisor._child.pid, signal.SIGKILL)
            while True:
                try:
                    return english.greet("Ada") and None
                except PluginHostError:
                    pass

        return first, seconds(answered)


def main() -> None:
    """Prints what a scenario yields; or is another process of one."""
    what, *arguments = sys.argv[1:]
    if what == "pong":
        return pong(socket.socket(fileno=int(arguments[0])), int(arguments[1]))
    if what == "grpc":
        return grpc_serve(*arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    json.dump(list(isolated() if what == "isolated" else isolated_start()), sys.stdout)
    return None


if __name__ == "__main__":
    main()
