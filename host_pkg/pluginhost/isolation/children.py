"""One child: a process that runs one plugin, from its start to its end."""

from __future__ import annotations

import contextlib
import marshal
import os
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from pluginhost.child import last_words
from pluginhost.errors import PluginCallError, escape
from pluginhost.isolation.channel import Channel, lost
from pluginhost.isolation.frames import EMPTY, PING, STOP
from pluginhost.isolation.groups import Group
from pluginhost.isolation.mortal import END_SECONDS, Mortal
from pluginhost.isolation.output import Output
from pluginhost.isolation.pool import Control, Pool
from pluginhost.isolation.system import MARK
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from pluginhost.isolation.awaiting import AsyncPool
    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.spawning import Nursery
    from pluginhost.isolation.system import Ends, System

START_SECONDS: Final = 20.0
"""What a child may take until it says who it is."""
FLAG_SECONDS: Final = 3.0
KILL_SECONDS: Final = 10.0
"""After how long a child that gives no sign of life is told of, and killed."""
_LAST_OUTPUT_SECONDS: Final = 0.2
_SAID: Final = 600


class Child(Mortal):
    """A process that runs one plugin.

    Attributes:
        pid: Its process id.
        pool: Its channels.
    """

    def __init__(
        self, system: System, nursery: Nursery, job: Mapping[str, object], peer: str, hear: Callable[[bool, str], None]
    ) -> None:
        """Starts one, and waits until it has come.

        Args:
            system: What the operating system offers.
            nursery: Who starts it.
            job: What it is told beside how it comes to its host.
            peer: What it is called in errors.
            hear: Called with each line that it writes, and whether it was to standard error.

        Raises:
            OSError: It cannot be started.
            PluginCallError: It does not come.
        """
        super().__init__(peer)
        self._mark = secrets.token_hex(8)
        self._began = time.monotonic()
        self._given_back = threading.Event()  # all that it took of this process
        self._system = system
        door = system.door()
        try:
            self._process = nursery.start(door.inherited, {MARK: self._mark})
        except BaseException:
            door.close()
            raise
        self.pid = self._process.pid
        self._door = door
        self.control: Control | None = None
        self.pool = Pool(self.open, peer)
        self._awaited: AsyncPool | None = None
        try:
            self._group = Group(self._process, system)
            self._output = [
                Output(_stream(self._process.stdout), lambda line: hear(False, line), peer),
                Output(_stream(self._process.stderr), lambda line: hear(True, line), peer),
            ]
            HostThread(target=self._attend, name=f"pluginhost: {peer}", daemon=True).start()
        except (OSError, RuntimeError) as exc:  # there are no descriptors, or no threads, left
            self._process.kill()
            self._process.communicate()
            door.close()
            raise OSError(f"it cannot be looked after: {exc}") from exc
        told = {"system": system.name, "invitation": door.invitation, "host": os.getpid()}
        try:
            with contextlib.suppress(OSError, ValueError):  # it has ended already, and will be asked why
                _stream(self._process.stdin).write(marshal.dumps({**job, **told}))
                _stream(self._process.stdin).flush()
            self.control = Control(door, peer, START_SECONDS)
            if self.ended.is_set():
                raise lost(peer, self.reason)
        except BaseException as exc:
            self.kill("it did not come")
            if isinstance(exc, OSError | ValueError):  # its door was closed, since it has ended
                raise self.told(lost(peer, str(exc))) from exc
            if isinstance(exc, PluginCallError):
                raise self.told(exc) from exc
            raise

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def awaited(self) -> AsyncPool:
        """Its channels for coroutines."""
        with self._lock:
            if self._awaited is None:
                from pluginhost.isolation.awaiting import AsyncPool  # asyncio is dear, and few contracts need it

                self._awaited = AsyncPool(self._ends, self.peer)
                if self.ended.is_set():
                    self._awaited.end(self.reason)
            return self._awaited

    def ask(self, operation: int, message: Message, timeout: float | None) -> Frame:
        """Returns the reply to what is no call of a contract's; what fails says what became of the child."""
        try:
            return self.pool.call(operation, message, timeout)
        except PluginCallError as exc:
            raise self.told(exc) from exc

    def kill(self, why: str) -> None:
        """Ends it and its group at once.

        Args:
            why: What it did, for the message.
        """
        self._killed = self._killed or why
        self._group.kill()

    def end(self, seconds: float = END_SECONDS) -> None:
        """Asks it to end, waits, and kills what is left of it and its group."""
        self._killed = self._killed or "it was told to end"
        if self.control is not None:
            with contextlib.suppress(PluginCallError, OSError):
                self.control.tell(STOP, seconds)
        self.ended.wait(seconds)
        self._group.kill()
        self._given_back.wait(END_SECONDS)

    def open(self, timeout: float | None) -> Channel:
        """Returns another channel.

        Raises:
            PluginCallError: It is gone, or takes too long.
        """
        return Channel(*self._ends(timeout, in_packets=True), self.peer)

    def _ends(self, timeout: float | None, *, in_packets: bool = False) -> Ends:
        if self.control is None:
            raise lost(self.peer, self.reason or "it has not come")
        return self.control.ends(timeout, in_packets=in_packets)

    def _attend(self) -> None:
        """Waits for its end, and tells everybody."""
        code = self._group.wait()
        uptime = self.uptime
        self._door.close()  # who waits there for it to come waits no more
        until = time.monotonic() + _LAST_OUTPUT_SECONDS
        for output in self._output:
            output.end(max(0.0, until - time.monotonic()))
        self.reason = self._obituary(code, uptime)
        self._on_loss()
        self.pool.end(self.reason)
        with self._lock:
            self.ended.set()
            act, awaited = self._on_end, self._awaited
        try:
            if awaited is not None:
                awaited.end(self.reason)
            if self.control is not None:
                self.control.close()
            self._group.close()
            self._system.kill_marked(self._mark)
            with contextlib.suppress(OSError):
                _stream(self._process.stdin).close()
        finally:  # whatever else fails, the next child is started
            self._given_back.set()
            act()

    def _obituary(self, code: int, uptime: float) -> str:
        how = f"it ended with exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"it was ended by {signal.Signals(-code).name}"
        if self._killed and code == -getattr(signal, "SIGKILL", 9):
            how = f"it was killed, since {self._killed},"
        stderr = self._output[1].last
        said = escape(last_words(stderr), limit=_SAID) if stderr.strip() else ""
        return f"{how} after {uptime:.1f} s{said and f'; it last said: {said}'}"


class Way(Protocol):
    """Over what a child is asked for signs of life: a channel of its own, or what another kind of child has.

    Attributes:
        is_open: Whether it can be used.
    """

    @property
    def is_open(self) -> bool: ...

    def tell(self, operation: int, message: Message, timeout: float | None = None) -> None:
        """Asks; raises `PluginCallError` when it is lost."""

    def has_answered(self, operation: int) -> bool:
        """Returns whether an answer has come; raises `PluginCallError` when it is lost, or what came is none."""

    def close(self) -> None:
        """Gives back what it holds."""


class Pulse:
    """Whether a child gives signs of life; the manager's watchdog looks."""

    def __init__(self, child: Mortal, channel: Way, flag: Callable[[float], None]) -> None:
        self._child, self._channel, self._flag = child, channel, flag
        self._asked: float | None = None
        self._due = 0.0
        self._is_flagged = self._is_left = False

    def look(self, now: float) -> float:
        """Asks, or sees whether an answer has come, and returns when to look again.

        The watchdog looks at all that it watches whenever it is time for one: what comes too early asks nothing.
        """
        if self._is_left:
            return float("inf")
        if self._child.ended.is_set():
            self._channel.close()
            return float("inf")
        if not self._channel.is_open:
            self._child.kill("it closed a channel and lived on")
            return float("inf")
        if now < self._due:
            return self._due
        self._due = now + 0.5
        try:
            if self._asked is not None and self._channel.has_answered(PING):
                self._asked, self._is_flagged = None, False
            if self._asked is None:
                self._channel.tell(PING, EMPTY, 0.1)
                self._asked = now
                self._due = now + FLAG_SECONDS
                return self._due
        except PluginCallError as exc:
            if exc.finding.code == "channel-lost":  # which a socket tells before the process table does
                return self._due
            self._child.kill("what it answered to a ping was no sign of life")
            return float("inf")
        silent = now - self._asked
        if not self._is_flagged:  # also where this process was held up itself, and comes to look as late as that
            self._is_flagged = True
            self._flag(silent)
        elif silent >= KILL_SECONDS:
            self._child.kill(f"it gave no sign of life for {silent:.1f} s")
            return float("inf")
        return self._due

    def close(self) -> None:
        """Asks no more; for when nobody looks any more, and the child has ended."""
        self._channel.close()

    def forked(self) -> None:
        """Asks no more: the child is the other process's."""
        self._is_left = True


def _stream(stream: Any) -> Any:
    assert stream is not None
    return stream
