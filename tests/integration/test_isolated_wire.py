"""A real child over the wire, on the system's own way and on the portable one: the same holds on both."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import isolated
import msgspec
import pytest
from comparing import same
from isolated import PEER, Child, child, holdings, start, threads
from pluginhost.errors import PluginCallError
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import BACK, FAILED, LIMIT, META_LIMIT, OPEN, Message
from pluginhost.isolation.pool import Control, Pool
from pluginhost.isolation.system import LINUX, PORTABLE, Door, Entrance, System, best, named
from waiting import is_alive, stop, until, until_async

from pluginapi import Request, Response

if TYPE_CHECKING:
    from pluginhost.isolation.lines import Line

SYSTEMS = [LINUX, PORTABLE]


@pytest.fixture(scope="module", params=SYSTEMS, ids=lambda system: system.name)
def running(request: pytest.FixtureRequest) -> Iterator[Child]:
    with child(request.param) as started:
        yield started


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PluginCallError) as raised:
        call()
    return raised.value.finding.code


def failure_of(running: Child, name: str, *arguments: object) -> Failure:
    method = running.codec.methods[name]
    frame = running.pool.call(method.operation, method.pack_call(arguments, {}), 60.0)
    assert frame.flags & FAILED
    return Failure.unpack(frame)


def test_linux_has_its_own_way() -> None:
    assert best() is (LINUX if sys.platform == "linux" else PORTABLE)
    assert [named(system.name) for system in SYSTEMS] == SYSTEMS


def test_calls_of_all_sizes_are_answered(running: Child) -> None:
    for size in (0, 1, 4096, 65_535, 65_536, 1 << 20, LIMIT - 100):
        same(running.call("echo", "x" * size), "x" * size)
        body = os.urandom(16) * (size // 16)
        response = running.call("handle", Request("1", body))
        same(response.body, body)
        assert response == Response(200, body)


def test_what_is_raised_arrives_as_text(running: Child) -> None:
    failure = failure_of(running, "fail", "value")
    assert (failure.type, failure.message) == ("ValueError", "ValueError: a ü")
    assert "in fail" in failure.traceback
    assert failure_of(running, "fail", "exit").type == "SystemExit"
    assert failure_of(running, "fail", "hostile").type == "Hostile"
    assert running.call("echo", "still there") == "still there"


def test_a_reply_that_is_too_large_is_told_and_the_child_goes_on(running: Child) -> None:
    failure = failure_of(running, "big", LIMIT + 1)
    assert failure.code == "frame-too-large"
    assert len(running.call("big", LIMIT)) == LIMIT  # type: ignore[arg-type]


def test_wrong_arguments_are_told(running: Child) -> None:
    assert failure_of(running, "count", "many").code == "arguments-wrong"


def test_a_stream_is_fetched_item_by_item(running: Child) -> None:
    method = running.codec.methods["count"]
    closed = running.call("closed")
    assert isinstance(closed, int)
    frames = running.pool.stream(method.operation, method.pack_call((5,), {}), 60.0)
    assert [method.result.unpack(frame) for frame in frames] == [0, 1, 2, 3, 4]
    running.pool.stream(method.operation, method.pack_call((5,), {}), 60.0).close()
    frames = running.pool.stream(method.operation, method.pack_call((5,), {}), 60.0)
    next(frames)
    frames.close()
    assert running.call("closed") == closed + 2  # one was never begun


def test_a_call_that_takes_too_long_costs_nobody_elses_reply(running: Child) -> None:
    for number in range(3):
        assert code_of(lambda: running.call("sleep", 1.5, timeout=0.01)) == "call-timeout"
        assert running.call("echo", str(number)) == str(number)


def test_eight_callers_get_each_its_own_reply(running: Child) -> None:
    wrong: list[object] = []

    def call(name: int) -> None:
        for number in range(40):
            text = f"{name} {number} " * (5000 if number % 20 == 0 else 1)
            if (reply := running.call("echo", text)) != text:
                wrong.append(reply)

    threads = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def awaited(main: Coroutine[object, object, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30):
            await main

    asyncio.run(in_time())


async def code_of_awaited(call: Awaitable[object]) -> str:
    with pytest.raises(PluginCallError) as raised:
        await call
    return raised.value.finding.code


async def until_told(running: Child, what: str) -> list[str]:
    """Returns what the plugin has done, up to something, since it was last asked."""
    told: list[str] = []
    while what not in told:
        told += await running.call_async("told")  # type: ignore[operator]
        await asyncio.sleep(0.001)
    return told


def test_awaited_calls_of_all_sizes_are_answered(running: Child) -> None:
    async def main() -> None:
        for size in (0, 1, 4096, 65_535, 65_536, 1 << 20, LIMIT - 100):
            same(await running.call_async("echo", "x" * size), "x" * size)
            body = os.urandom(16) * (size // 16)
            response = await running.call_async("handle", Request("1", body))
            same(response.body, body)
            assert response == Response(200, body)
        assert await running.call_async("sleep_well", 0.0) == 0.0

    awaited(main())
    assert running.call("sleep_well", 0.0) == 0.0  # whoever does not await may call it as well


def test_what_a_coroutine_raises_arrives_as_text(running: Child) -> None:
    async def failure(kind: str) -> Failure:
        method = running.codec.methods["fail_well"]
        frame = await running.async_pool.call(method.operation, method.pack_call((kind,), {}), 60.0)
        assert frame.flags & FAILED
        return Failure.unpack(frame)

    async def main() -> None:
        assert (await failure("value")).message == "ValueError: a ü"
        assert "in fail_well" in (await failure("value")).traceback
        assert (await failure("exit")).type == "SystemExit"
        assert (await failure("hostile")).type == "Hostile"
        assert "may not stop" in (await failure("stop")).message
        assert await running.call_async("sleep_well", 0.0) == 0.0

    awaited(main())


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_a_caller_that_gives_up_cancels_the_plugins_coroutine(running: Child, how: str) -> None:
    async def main() -> None:
        await running.call_async("told")
        # It is late when the plugin has begun, which on a busy machine takes a while: else nothing would be cancelled.
        call = asyncio.create_task(running.call_async("sleep_well", 60.0, timeout=1.0 if how == "late" else None))
        if how == "late":
            assert await code_of_awaited(call) == "call-timeout"
        else:
            await until_told(running, "asleep")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await until_told(running, "awake"))[-2:] == ["cancelled", "awake"]

    awaited(main())


def test_a_caller_in_a_thread_that_gives_up_cancels_the_plugins_coroutine(running: Child) -> None:
    running.call("told")
    assert code_of(lambda: running.call("sleep_well", 60.0, timeout=1.0)) == "call-timeout"
    awaited(until_awake(running))


async def until_awake(running: Child) -> None:
    await until_told(running, "awake")


def test_a_hundred_awaited_calls_get_each_their_own_reply(running: Child) -> None:
    """In each of two event loops, over eight channels."""
    right: list[bool] = []

    async def main(name: int) -> None:
        texts = [f"{name} {number} " * (5000 if number % 20 == 0 else 1) for number in range(100)]
        calls = [running.call_async("echo", text) for text in texts]
        *replies, _ = await asyncio.gather(*calls, running.call_async("sleep_well", 0.01))
        right.append(replies == texts)

    threads = [threading.Thread(target=lambda name=name: awaited(main(name))) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert right == [True, True]


def test_an_awaited_stream_is_fetched_item_by_item(running: Child) -> None:
    method = running.codec.methods["count_well"]

    async def main() -> None:
        await running.call_async("told")
        begin = method.operation, method.pack_call((4,), {}), 60.0
        frames = await running.async_pool.stream(*begin)
        assert [method.result.unpack(await anext(frames)) for _ in range(2)] == [0, 1]
        assert await running.call_async("told") == ["made 0", "made 1"]
        assert [method.result.unpack(frame) async for frame in frames] == [2, 3]
        assert await running.call_async("told") == ["made 2", "made 3", "closed"]
        frames = await running.async_pool.stream(*begin)
        await anext(frames)
        await frames.aclose()
        assert await running.call_async("told") == ["made 0", "closed"]
        frames = await running.async_pool.stream(*begin)
        await anext(frames)
        del frames
        assert await until_told(running, "closed") == ["made 0", "closed"]

    awaited(main())


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_child_that_is_killed_fails_what_is_awaited_at_once(system: System) -> None:
    before = holdings()
    with child(system) as started:

        async def main() -> None:
            calls = [code_of_awaited(started.call_async("sleep_well", 60.0, timeout=None)) for _ in range(8)]
            waiting = [asyncio.create_task(call) for call in (*calls, code_of_awaited(started.call_async("told")))]
            await until_async(lambda: started.call("told"))
            started.process.kill()
            assert await asyncio.gather(*waiting) == ["channel-lost"] * 9
            assert await code_of_awaited(started.call_async("echo", "x")) == "channel-lost"

        awaited(main())
    assert holdings() <= before


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_what_a_child_takes_is_given_back(system: System) -> None:
    before, running = holdings(), threads()
    with child(system) as started:
        streams = [started.pool.stream(*packed(started), 60.0) for _ in range(8)]
        del streams
    assert holdings() <= before
    assert threads() <= running


def packed(started: Child) -> tuple[int, object]:
    method = started.codec.methods["count"]
    return method.operation, method.pack_call((3,), {})


@pytest.mark.parametrize("death", isolated.DEATHS)
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_child_killed_at_any_step_costs_its_calls_an_error_in_time(system: System, death: str) -> None:
    """Each call answers or fails with a code, whatever the step at which the child is killed; nothing is left."""
    before = holdings()
    if death == "start" and system is PORTABLE:  # it is not told from one that is slow
        assert code_of(lambda: start(system, death)) == "call-timeout"
        assert holdings() <= before
        return
    process, control = start(system, death)
    pool = Pool(control.open, PEER)
    started = Child(process, control, pool, isolated.Codec(isolated.Deeds))

    def calls() -> None:
        assert started.call("echo", "x", timeout=60.0) == "x"
        method = started.codec.methods["count"]
        for frame in pool.stream(method.operation, method.pack_call((5,), {}), 60.0):
            method.result.unpack(frame)

    assert code_of(calls) == "channel-lost"
    watch = system.watch(process)
    assert watch.wait(60)
    watch.close()
    pool.end("killed")
    assert code_of(lambda: started.call("echo", "x")) == "channel-lost"
    control.close()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert holdings() <= before


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_host_that_is_killed_leaves_no_child(system: System) -> None:
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import isolated; "
        "from pluginhost.isolation.system import named; process, control = isolated.start(named(sys.argv[2])); "
        "channel = control.open(60.0); print(process.pid, flush=True); time.sleep(1000)"
    )
    command = [sys.executable, "-c", code, str(Path(isolated.__file__).parent), system.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        assert host.stdout
        pid = int(host.stdout.readline())
        host.kill()
    until(lambda: not is_alive(pid))


def test_the_end_of_its_standard_input_ends_a_child() -> None:
    """On the portable way: whatever else the child is busy with, and whoever else holds its control channel."""
    code = (
        "import os, time; from pluginhost.isolation.system import PORTABLE; PORTABLE.end_with_host(os.getppid(), 0); "
        "print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 1


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_death_is_seen_while_a_grandchild_holds_the_socket(system: System) -> None:
    """The end of its output does not come then; the watch sees it."""
    grandchild = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", grandchild], **pipes) as process:  # type: ignore[call-overload]
        watch = system.watch(process)
        assert not watch.wait(0.01)
        process.kill()
        assert watch.wait(60)
        watch.close()


def test_the_portable_door_lets_nobody_else_in() -> None:
    door = PORTABLE.door()
    port = int(door.invitation.split()[0])
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    strangers[0].sendall(b"x" * 32)
    friend: list[object] = []
    thread = threading.Thread(target=lambda: friend.append(PORTABLE.enter(door.invitation)))
    strangers[1].close()
    thread.start()
    line = door.admit(60.0)
    thread.join()
    entrance = friend[0]
    assert line.sock.getpeername() == entrance.control.sock.getsockname()  # type: ignore[attr-defined]
    assert line._left() is None, "what its caller had to say within a second holds for no more than that"
    for each in (line, entrance.control, door, strangers[0]):  # type: ignore[attr-defined]
        each.close()


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_child_that_does_not_take_channels_costs_no_more_than_the_calls_time(system: System) -> None:
    process, control = start(system)
    stop(process.pid)
    pool = Pool(control.open, PEER)
    started = Child(process, control, pool, isolated.Codec(isolated.Deeds))
    for _ in range(2):
        assert code_of(lambda: started.call("echo", "x", timeout=0.05)) == "call-timeout"
    os.kill(process.pid, signal.SIGCONT)
    assert started.call("echo", "x", timeout=60.0) == "x"
    pool.end("it was ended")
    control.close()
    process.communicate()


def test_a_child_that_takes_nothing_at_all_holds_nobody_up() -> None:
    """Announcements that nobody takes fill the control channel in the end; whoever opens then is told in time."""
    door = LINUX.door()
    control = Control(door, PEER, 60.0)
    before = holdings()
    told = ""
    for _ in range(2000):
        try:
            control.open(0.02).close()
        except PluginCallError as exc:
            told = exc.finding.code
            break
    assert told in ("call-timeout", "channel-lost")
    assert holdings() <= before
    control.close()


@pytest.mark.parametrize("room", [0, 1])
def test_a_child_without_descriptors_left_goes_on_with_the_channels_that_it_has(room: int) -> None:
    process, control = start(LINUX)
    pool = Pool(control.open, PEER)
    started = Child(process, control, pool, isolated.Codec(isolated.Deeds))
    assert started.call("echo", "x") == "x"
    held = {int(name) for name in os.listdir(f"/proc/{process.pid}/fd")}
    free = [number for number in range(100) if number not in held]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free[room], 4096))
    stream = pool.stream(*packed(started), 60.0)
    for _ in range(3):
        assert code_of(lambda: started.call("echo", "x")) == "channel-lost"
    stream.close()
    assert started.call("echo", "still there") == "still there"
    pool.end("it was ended")
    control.close()
    assert b"could not be taken" in process.communicate()[1]


def test_a_child_holds_no_more_descriptors_than_its_own() -> None:
    held = socket.socket()
    held.set_inheritable(False)
    with child(LINUX) as started:
        started.call("echo", "x")
        # The three standard ones, the control channel, and the channel with its arena.
        assert len(os.listdir(f"/proc/{started.process.pid}/fd")) == 6
        before = holdings()
        streams = [started.pool.stream(*packed(started), 60.0) for _ in range(4)]
        assert holdings() - before == 2 * 3  # a socket and an arena each, but for the one that was there
        del streams
    held.close()


def test_threads_call_in_packets_and_event_loops_over_streams() -> None:
    """A packet takes the largest meta that there may be, with the largest body in the arena beside it."""
    with child(LINUX) as started:
        method = started.codec.methods["echo"]
        channel, ends = started.control.open(60.0), started.control.ends(10.0)
        kinds = [line.sock.type for line in (channel._line, ends.line)]
        assert kinds == [socket.SOCK_SEQPACKET, socket.SOCK_STREAM]
        text = "x" * (META_LIMIT - 4)
        meta = msgspec.msgpack.encode([text])
        assert len(meta) == META_LIMIT
        assert method.result.unpack(channel.call(method.operation, Message(0, meta, b""), 60.0)) == text
        frame = channel.call(method.operation, Message(0, meta, bytes(LIMIT)), 60.0)
        assert "it has a body where none belongs" in Failure.unpack(frame).message
        for each in (channel, ends.line):
            each.close()
        assert ends.arena
        ends.arena.close()


def test_a_system_without_memfd_does_without_arenas(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no memfd here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with child(LINUX) as started:
        same(started.call("echo", "x" * (1 << 20)), "x" * (1 << 20))


def test_the_parent_death_signal_is_set() -> None:
    code = (
        "import ctypes, os, sys; from pluginhost.isolation.system import LINUX; LINUX.end_with_host(os.getppid(), 0); "
        "number = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(number)); print(number.value)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == signal.SIGKILL
    assert ctypes.sizeof(ctypes.c_int) == 4


def portable_door() -> tuple[Door, Line, Entrance]:
    """Returns a door, the host's end of its control channel, and what a child has that came in."""
    door = PORTABLE.door()
    friend: list[Entrance] = []
    thread = threading.Thread(target=lambda: friend.append(PORTABLE.enter(door.invitation)))
    thread.start()
    control = door.admit(60.0)
    thread.join()
    return door, control, friend[0]


def test_a_line_through_the_portable_door_has_no_deadline() -> None:
    """The time for its token is over soon; a channel by which the child calls may be silent for as long as it likes."""
    door, line, entrance = portable_door()
    assert line._deadline is None
    for each in (line, entrance.control, door):
        each.close()


def test_what_comes_late_through_the_portable_door_is_for_what_it_was_announced() -> None:
    """A child that is held up connects after its host has given up; by then its host may wait for another channel."""
    door, control, entrance = portable_door()
    lines = [control, entrance.control]
    with pytest.raises(TimeoutError):
        door.open(BACK, lambda: None, 0.05, in_packets=False)
    late = entrance.take(BACK).line
    lines += [late, *(ends.line for ends in (entrance.take(OPEN), entrance.take(OPEN)))]
    for kind, theirs in ((OPEN, lines[3]), (BACK, late), (OPEN, lines[4])):
        ours = door.open(kind, lambda: None, 60.0, in_packets=False).line
        lines.append(ours)
        assert ours.sock.getpeername() == theirs.sock.getsockname()
    left = entrance.take(BACK).line
    lines.append(entrance.take(OPEN).line)
    lines.append(door.open(OPEN, lambda: None, 60.0, in_packets=False).line)
    door.close()
    assert not left.sock.recv(1), "what nobody asked for any more is closed with the door"
    for line in (*lines, left):
        line.close()
