"""A contract with each kind of call, and a plugin of it that `python -c "from goplugin import adapted; adapted.main()"` serves."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from pluginhost.goplugin import HandshakeConfig, serve
from pluginhost.goplugin.offering import Offer, Offering

from pluginapi import Plugin, PluginError

HANDSHAKE = HandshakeConfig("ADAPTED_PLUGIN", "adapted")
_STEP: ContextVar[int] = ContextVar("step", default=0)


class Adapted(Plugin):
    """Each kind of call."""

    @property
    @abstractmethod
    def level(self) -> int: ...

    @level.setter
    @abstractmethod
    def level(self, value: int) -> None: ...

    @abstractmethod
    def meet(self, others: int) -> int:
        """Returns when so many are in it at once."""

    @abstractmethod
    def raises(self, what: str) -> int: ...

    @abstractmethod
    def hangs(self) -> None: ...

    @abstractmethod
    def count(self, to: int, size: int = 0) -> Iterator[bytes]: ...

    @abstractmethod
    async def asked(self, text: str) -> str: ...

    @abstractmethod
    def counted(self, to: int) -> AsyncIterator[int]: ...

    @abstractmethod
    def seen(self) -> list[str]:
        """Returns what became of streams."""


class Other(Plugin):
    """A contract that nobody serves."""


class _Adapted(Adapted):
    level = 1

    def __init__(self) -> None:
        self._barriers: dict[int, threading.Barrier] = {}
        self._seen: list[str] = []

    def meet(self, others: int) -> int:
        return self._barriers.setdefault(others, threading.Barrier(others)).wait(60)

    def raises(self, what: str) -> int:
        match what:
            case "exit":
                raise SystemExit(3)
            case "own word":
                raise PluginError("not like this")
            case "nothing yet":
                raise NotImplementedError
            case "type":
                return "no number"  # type: ignore[return-value]
        raise ValueError(what)

    def hangs(self) -> None:
        threading.Event().wait()

    def count(self, to: int, size: int = 0) -> Iterator[bytes]:
        made = 0
        try:
            for number in range(to):
                assert _STEP.get() == number  # each step has the context of the one before
                _STEP.set(number + 1)
                made += 1
                yield b"%d" % number + bytes(size)
            if to == 3:
                raise PluginError("three is no number")
        finally:
            self._seen.append(f"count {made}")

    async def asked(self, text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    async def counted(self, to: int) -> AsyncIterator[int]:
        made = 0
        try:
            for number in range(to):
                made += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self._seen.append(f"counted {made}")

    def seen(self) -> list[str]:
        return self._seen


def main() -> None:
    serve([Offering([Offer("adapted", {Adapted: _Adapted()})])], HANDSHAKE)
