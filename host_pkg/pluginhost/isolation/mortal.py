"""What becomes of a process that runs a plugin: why it ended, and who does something about it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pluginhost.isolation.channel import lost
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from pluginhost.errors import PluginCallError

END_SECONDS: Final = 2.0
"""What a child may take to end that was asked to."""
_DEATH_SECONDS: Final = 2.0
"""What it may take until a process is seen to have ended whose connection has."""


class Mortal(ABC):
    """A process, as far as its end goes.

    Attributes:
        peer: What it is called in errors.
        ended: Set once it has ended, and what became of it is known.
        reason: What became of it; empty while it runs.
    """

    def __init__(self, peer: str) -> None:
        self.peer, self.reason, self.ended = peer, "", threading.Event()
        self._killed = ""  # why the host did so
        self._on_loss: Callable[[], None] = lambda: None
        self._on_end: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    @abstractmethod
    def kill(self, why: str) -> None:
        """Ends it and its group at once.

        Args:
            why: What it did, for the message.
        """

    def told(self, exc: PluginCallError) -> PluginCallError:
        """Returns what a caller is told: where the child is gone, what became of it."""
        if exc.finding.code != "channel-lost":
            return exc
        # A socket tells of the end before the process table does.
        if not self.ended.wait(_DEATH_SECONDS):
            self.kill("it closed a channel and lived on")
            self.ended.wait(END_SECONDS)
        return lost(self.peer, self.reason)

    def on_end(self, let_go: Callable[[], None], act: Callable[[], None]) -> None:
        """Has something done once it has ended.

        Args:
            let_go: Called before any caller is told of the end, so that what is called next goes elsewhere.
            act: Called then, on a thread that has nothing else to do.
        """
        with self._lock:
            self._on_loss, self._on_end = let_go, act
            is_late = self.ended.is_set()
        if is_late:
            let_go()
            HostThread(target=act, name=f"pluginhost: after {self.peer}", daemon=True).start()
