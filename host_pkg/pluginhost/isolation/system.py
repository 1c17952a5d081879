"""What host and child need of the operating system: Linux's own way, and one that every system has.

The host opens a door for each child and tells it the invitation, which is a secret and not for a command line. Through
the door come the child's control channel and, as calls need them, more channels.

| | Linux | portable |
| --- | --- | --- |
| channels | socket pairs; more of them as descriptors over the control channel | connections to a port of 127.0.0.1 |
| frames | packets, but for asyncio, which takes streams alone | parts of a stream |
| large bodies | an arena for each channel | over the channel |
| waiting for a reply | by the kernel | by `select`, each time |
| the child's death | a descriptor of the process | `waitpid`, now and then |
| limits | held by the kernel, of any process | of this process alone, where there are any |
| the host's death | a signal, when the thread that started the child is gone | the end of the child's standard input |
| for a program of others' | the same signal, by `setpriv` | nothing |
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pluginhost.isolation import frames
from pluginhost.isolation.arena import Arena
from pluginhost.isolation.lines import AT_ONCE, Line, LinuxLine

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from typing import Final, TypeAlias

    Announce: TypeAlias = Callable[[], None]

_LOCALHOST: Final = "127.0.0.1"
_TOKEN: Final = 32
_CONTROL: Final = 0
"""What a control channel is for, as the portable door tells it from others."""
_LOOK_SECONDS: Final = 0.1
"""How often a door that waits looks whether it was closed."""


class Ends(NamedTuple):
    """One side's end of a channel.

    Attributes:
        line: Its socket.
        arena: What it shares with the other side; `None` when bodies go over the socket.
    """

    line: Line
    arena: Arena | None


class Door(ABC):
    """Where a child's channels come from, as the host holds it.

    Attributes:
        invitation: What the child is told.
        inherited: The descriptors that the child inherits.
    """

    invitation: str
    inherited: tuple[int, ...]

    @abstractmethod
    def admit(self, timeout: float) -> Line:
        """Returns the host's end of the control channel, once the child's process is started.

        Raises:
            TimeoutError: The child does not come.
        """

    @abstractmethod
    def open(self, kind: int, announce: Announce, timeout: float | None, *, in_packets: bool) -> Ends:
        """Returns the host's end of another channel.

        Args:
            kind: What it is for, from 1 to 255.
            announce: Tells the child, over the control channel, to take its end.
            timeout: Seconds that the child may take to come.
            in_packets: Whether its users take frames that come as packets, which is a tenth of a call less.

        Raises:
            OSError: There are no descriptors left, for instance.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds; the channels stay."""


class Entrance(ABC):
    """The other side of a door, as the child holds it.

    Attributes:
        control: Its end of the control channel.
    """

    control: Line

    @abstractmethod
    def take(self, kind: int) -> Ends:
        """Returns the child's end of the channel that was announced.

        Args:
            kind: What it was announced for.

        Raises:
            OSError: It is not there.
        """


class Watch(ABC):
    """Whether a process has ended."""

    @abstractmethod
    def wait(self, timeout: float | None) -> bool:
        """Returns whether it has, or does so within some seconds."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds."""


class System(ABC):
    """What differs between systems.

    Attributes:
        name: What it is called.
    """

    name: str

    @abstractmethod
    def door(self) -> Door:
        """Returns a door for one child that will be started."""

    @abstractmethod
    def enter(self, invitation: str) -> Entrance:
        """Returns what the child has of the door to which it was invited.

        Raises:
            OSError: It is not there any more.
        """

    @abstractmethod
    def watch(self, process: subprocess.Popen[bytes]) -> Watch:
        """Returns what sees the end of a child."""

    @abstractmethod
    def end_with_host(self, host: int, life: int) -> None:
        """Has this process, a child whose standard input is a pipe from its host, end when the host does.

        Args:
            host: The host's process id.
            life: The descriptor of that pipe.
        """

    def bound_to_host(self, command: Sequence[str], path: str | None, folder: str | None) -> Sequence[str]:
        """Returns a command whose process is a program of others', and ends when the thread does that started it.

        Where the system cannot have that, or there is no such program, it is the command that was given.

        Args:
            command: The program and its arguments.
            path: Where it is looked for, as `PATH` has it; where the system always looks when `None`.
            folder: Its working folder; this process's when `None`.
        """
        return command

    def limit(self, memory: int | None, cpu: int | None, files: int | None, process: int = 0) -> bool:
        """Holds a process to limits, and returns whether the system can.

        Args:
            memory: MiB that it may write to, as `settings.Limits` has it.
            cpu: Seconds of processor time.
            files: How many files and sockets it may have open.
            process: Its id; 0 for this process.
        """
        wanted = _limits(memory, cpu, files)
        if wanted is None or (wanted and process):
            return False
        if wanted:
            import resource

            for kind, value in wanted:
                resource.setrlimit(kind, (value, value))
        return True

    def kill_marked(self, mark: str) -> None:  # noqa: B027 - what a system cannot tell is left alone
        """Kills what a child left behind in sessions of their own, where the system can tell it by its environment.

        Args:
            mark: What the environment has as `MARK`.
        """


class _LinuxDoor(Door):
    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._control: _Passing | None = None
        self.inherited = (self._theirs.fileno(),)
        self.invitation = str(self._theirs.fileno())

    def admit(self, timeout: float) -> Line:
        self._theirs.close()
        self._control = _Passing(self._ours)
        return self._control

    def open(self, kind: int, announce: Announce, timeout: float | None, *, in_packets: bool) -> Ends:
        assert self._control is not None
        with contextlib.ExitStack() as undo:
            if arena := self._arena():
                undo.callback(arena.close)
            # Without an arena, a frame may be larger than a packet.
            ours, theirs = _packets() if in_packets and arena else socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                self._control.passed = [theirs.fileno(), *([arena.fd] if arena else [])]
                try:
                    announce()
                finally:
                    self._control.passed = []
                name = os.fstat(theirs.fileno()).st_ino
            undo.pop_all()
        if arena:
            arena.keep_private()
        return Ends(_named(LinuxLine(ours), name), arena)

    def _arena(self) -> Arena | None:
        try:
            return Arena.make(frames.LIMIT)
        except OSError:  # a sandbox without memfd
            return None

    def close(self) -> None:
        self._theirs.close()
        if self._control is None:
            self._ours.close()


class _LinuxEntrance(Entrance):
    def __init__(self, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)  # what the plugin starts is no part of this
        self._control = self.control = _Receiving(sock)

    def take(self, kind: int) -> Ends:
        fds, self._control.taken = self._control.taken, []
        if not fds:
            raise OSError("no descriptor came with it")
        sock = socket.socket(fileno=fds[0])
        try:
            arena = Arena(fds[1], frames.LIMIT) if len(fds) > 1 else None
        except OSError:  # there is no address space left
            sock.close()
            os.close(fds[1])
            raise
        if arena:
            arena.keep_private()
        return Ends(_named(LinuxLine(sock), os.fstat(fds[0]).st_ino), arena)


class _Passing(LinuxLine):
    """The host's end of a control channel; with its next bytes go descriptors."""

    __slots__ = ("passed",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.passed: list[int] = []

    def send(self, data: bytes) -> None:
        while self.passed:
            self.wait(select.POLLOUT)  # a child that is held up takes none, and others wait for this line
            try:
                sent = socket.send_fds(self.sock, [data], self.passed, AT_ONCE)
            except BlockingIOError:
                continue
            self.passed = []
            data = data[sent:]
        if data:
            super().send(data)


class _Receiving(LinuxLine):
    """The child's end of a control channel. The host's takes no descriptors: what a child sends is dropped."""

    __slots__ = ("taken",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.taken: list[int] = []
        self.receive = self._take

    def _take(self, most: int) -> bytes:
        data, self.taken, flags, _ = socket.recv_fds(self.sock, most, 2, socket.MSG_CMSG_CLOEXEC)
        if flags & socket.MSG_CTRUNC:  # there was no room for all of them
            while self.taken:
                os.close(self.taken.pop())
        return data


class _LinuxWatch(Watch):
    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def wait(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def close(self) -> None:
        os.close(self._fd)


class _Linux(System):
    name = "linux"

    def door(self) -> Door:
        return _LinuxDoor()

    def enter(self, invitation: str) -> Entrance:
        return _LinuxEntrance(int(invitation))

    def watch(self, process: subprocess.Popen[bytes]) -> Watch:
        return _LinuxWatch(process.pid)

    def bound_to_host(self, command: Sequence[str], path: str | None, folder: str | None) -> Sequence[str]:
        import shutil  # only a host needs it

        setter = shutil.which("setpriv")
        found = shutil.which(os.path.join(folder or "", command[0]) if "/" in command[0] else command[0], path=path)
        # Those of BusyBox, and of util-linux before 2.33, cannot do it.
        if setter and found and _has(setter, b"pdeathsig") and _is_started_by_kernel(found):
            return [setter, "--pdeathsig", "KILL", "--", *command]
        return command

    def limit(self, memory: int | None, cpu: int | None, files: int | None, process: int = 0) -> bool:
        import resource

        for kind, value in _limits(memory, cpu, files) or ():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                resource.prlimit(process, kind, (value, value))
        return True

    def kill_marked(self, mark: str) -> None:
        wanted = f"{MARK}={mark}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                with open(f"/proc/{pid}/environ", "rb") as file:
                    is_marked = wanted in file.read().split(b"\0")
                if is_marked:
                    os.kill(int(pid), signal.SIGKILL)

    def end_with_host(self, host: int, life: int) -> None:
        import ctypes  # it costs the child a few milliseconds, and the host nothing

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != host:  # it was gone before the signal was set
            os._exit(1)


def _has(path: str, word: bytes) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return word in file.read()
    return False


def _is_started_by_kernel(path: str) -> bool:
    """Returns whether a file is a program or a script with its interpreter: `setpriv` has a shell run any other."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(4).startswith((b"\x7fELF", b"#!"))
    return False


class _PortableDoor(Door):
    def __init__(self) -> None:
        import secrets  # only a host needs it, and only here

        self._token = secrets.token_hex(_TOKEN // 2)
        self._listener = socket.create_server((_LOCALHOST, 0))
        self._control: socket.socket | None = None
        self._came: dict[int, deque[Line]] = {}  # by what they are for
        self._is_open = True
        self.inherited = ()
        self.invitation = f"{self._listener.getsockname()[1]} {self._token}"

    def admit(self, timeout: float) -> Line:
        line = self._accept(_CONTROL, timeout)
        self._control = line.sock
        return line

    def open(self, kind: int, announce: Announce, timeout: float | None, *, in_packets: bool) -> Ends:
        announce()
        line = self._accept(kind, timeout)
        return Ends(_named(line, line.sock.getpeername()[1]), None)

    def close(self) -> None:
        self._is_open = False
        self._listener.close()
        for came in self._came.values():
            while came:
                came.popleft().close()

    def _accept(self, kind: int, timeout: float | None) -> Line:
        """Returns the next connection for this that knows the token; any process of this machine may connect.

        One that was announced for the same and came too late is as good as that which is waited for.
        """
        import hmac  # only a host needs it

        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._came.get(kind):
            self._wait(until)
            line = Line(_prompt(self._listener.accept()[0]))
            line.begin(min(1.0, until - time.monotonic()))  # who knows the token has sent it
            told = b""
            with contextlib.suppress(OSError):
                told = b"".join(line.receive_more(_TOKEN + 1))
            if hmac.compare_digest(told[:-1], self._token.encode()):
                line.begin(None)  # that was the time for the token, and not for what comes then
                self._came.setdefault(told[-1], deque()).append(line)
            else:
                line.close()
        return self._came[kind].popleft()

    def _wait(self, until: float) -> None:
        """Waits for a connection, as long as the door is open and the child there.

        Raises:
            TimeoutError: None came.
            ConnectionError: The door was closed, or the child is gone.
        """
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self._listener, selectors.EVENT_READ)
            except ValueError as exc:  # it was closed
                raise ConnectionError("its door is closed") from exc
            if self._control:
                selector.register(self._control, selectors.EVENT_READ)  # nothing comes over it but its end
            while (left := until - time.monotonic()) > 0:
                ready = {key.fileobj for key, _ in selector.select(min(left, _LOOK_SECONDS))}
                if self._listener in ready:
                    return
                if ready or not self._is_open:
                    raise ConnectionError("it closed its control channel")
        raise TimeoutError("the child did not connect in time")


class _PortableEntrance(Entrance):
    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token.encode()
        self.control = self._connect(_CONTROL)

    def take(self, kind: int) -> Ends:
        line = self._connect(kind)
        return Ends(_named(line, line.sock.getsockname()[1]), None)

    def _connect(self, kind: int) -> Line:
        line = Line(_prompt(socket.create_connection((_LOCALHOST, self._port))))
        line.send(self._token + bytes([kind]))
        return line


class _PortableWatch(Watch):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait(self, timeout: float | None) -> bool:
        import subprocess  # only a host needs it, and has it

        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        pass


class _Portable(System):
    name = "portable"

    def door(self) -> Door:
        return _PortableDoor()

    def enter(self, invitation: str) -> Entrance:
        port, token = invitation.split()
        return _PortableEntrance(int(port), token)

    def watch(self, process: subprocess.Popen[bytes]) -> Watch:
        return _PortableWatch(process)

    def end_with_host(self, host: int, life: int) -> None:
        def wait() -> None:
            while os.read(life, 4096):
                pass
            os._exit(1)

        threading.Thread(target=wait, name="pluginhost: the host's life", daemon=True).start()


def _limits(memory: int | None, cpu: int | None, files: int | None) -> list[tuple[int, int]] | None:
    """Returns which limits are set and to what, none beyond what this process has; `None` where there are no limits."""
    wanted = {"RLIMIT_DATA": memory and memory << 20, "RLIMIT_CPU": cpu, "RLIMIT_NOFILE": files}
    if not any(wanted.values()):
        return []
    try:
        import resource
    except ImportError:  # Windows has no limits of this kind
        return None
    found = []
    for name, value in wanted.items():
        if value:
            kind = getattr(resource, name)
            most = resource.getrlimit(kind)[1]
            found.append((kind, value if most == resource.RLIM_INFINITY else min(value, most)))
    return found


def _named(line: Line, name: int) -> Line:
    line.name = name  # what the system calls the child's end of it
    return line


def _packets() -> tuple[socket.socket, socket.socket]:
    """Returns two sockets that send what they are given as one packet, and can do so with any frame."""
    both = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in both:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, frames.FIRST)  # a system may be set to less
    return both


def _prompt(sock: socket.socket) -> socket.socket:
    """Returns a socket that sends at once what is small, too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


ENVIRONMENT: Final = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""What a child's environment has besides: without it glibc gives what a large call took back to the kernel and takes it
anew at the next, which may cost more than the call."""

MARK: Final = "PLUGINHOST_CHILD"
"""The variable by which what a child starts can be told for its."""

LINUX: Final[System] = _Linux()
PORTABLE: Final[System] = _Portable()


def best() -> System:
    """Returns what this system is served best with."""
    return LINUX if sys.platform == "linux" else PORTABLE


def named(name: str) -> System:
    """Returns a system by its name, as a host tells it to its child."""
    return {each.name: each for each in (LINUX, PORTABLE)}[name]
