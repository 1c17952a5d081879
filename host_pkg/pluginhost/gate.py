"""A gate at which calls wait, none lost, while a plugin's state goes from one generation to the next."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from pluginhost import stubs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    import pluginapi
    from pluginhost.stubs import Calls, StubClass

_LOOK_SECONDS: Final = 0.001


class Gate:
    """Holds the calls of a plugin's stubs until it is opened; then each goes where its stub's calls go.

    A call that is made from inside one that must return first does not wait: else each would wait for the other.

    Args:
        inside: Where those went that must return first.
    """

    def __init__(self, inside: Collection[Calls]) -> None:
        self._opened = threading.Event()
        self._inside = inside
        self._passing: dict[StubClass, pluginapi.Plugin] = {}  # by whose stubs the calls go that do not wait

    def open(self) -> None:
        """Lets pass who waits, and whoever comes later."""
        self._opened.set()
        self._inside, self._passing = (), {}  # who waited goes on to hold the gate

    def calls(self, kind: StubClass, stub: pluginapi.Plugin, before: Calls) -> Calls:
        """Returns where the calls of a stub go while the gate is shut.

        Args:
            kind: The stub's class.
            stub: Whose calls wait.
            before: Where they went.
        """
        self._passing[kind] = kind.make(stub.name, stub, before)

        def read(name: str) -> object:
            return getattr(self._wait(kind, stub), name)

        def write(name: str, value: object) -> None:
            setattr(self._wait(kind, stub), name, value)

        return kind.to(lambda name: self._waiting(kind, name, stub), read, write, stubs.blame_nobody)

    def _waiting(self, kind: StubClass, name: str, stub: pluginapi.Plugin) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            return getattr(self._wait(kind, stub), name)(*args, **named)

        async def call_async(*args: Any, **named: Any) -> Any:
            return await getattr(await self._wait_async(kind, stub), name)(*args, **named)

        async def items(*args: Any, **named: Any) -> AsyncIterator[Any]:
            of = await self._wait_async(kind, stub)
            async with contextlib.aclosing(getattr(of, name)(*args, **named)) as found:
                async for item in found:
                    yield item

        return items if name in kind.generators else call_async if name in kind.coroutines else call

    def _wait(self, kind: StubClass, stub: pluginapi.Plugin) -> pluginapi.Plugin:
        """Returns what is to be called, once it may be."""
        passing = self._unhindered(kind)
        if passing is not None:
            return passing
        self._opened.wait()
        return stub

    async def _wait_async(self, kind: StubClass, stub: pluginapi.Plugin) -> pluginapi.Plugin:
        passing = self._unhindered(kind)
        if passing is not None:
            return passing
        asyncio: Any = sys.modules.get("asyncio")
        if asyncio is None or not asyncio._get_running_loop():  # another library's loop
            self._opened.wait()
        while not self._opened.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
        return stub

    def _unhindered(self, kind: StubClass) -> pluginapi.Plugin | None:
        """Returns what a call goes to that does not wait; `None` for those that do."""
        passing = self._passing.get(kind)  # first: it may be opened at any moment
        return passing if passing is not None and stubs.is_inside(self._inside) else None
