"""A plugin in a child, as its host calls it: its life, its state and its calls, over the child's channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pluginhost import handover
from pluginhost.errors import PluginCallError, RemoteFailure
from pluginhost.isolation import frames, remote
from pluginhost.isolation.children import START_SECONDS, Child, Pulse
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import EMPTY, FAILED
from pluginhost.isolation.offered import Offered
from pluginhost.isolation.services import unpacked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pluginhost.host import PluginHost
    from pluginhost.isolation.awaiting import AsyncStream
    from pluginhost.isolation.codec import Method
    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.pool import Stream
    from pluginhost.isolation.spawning import Nursery
    from pluginhost.isolation.system import System

_ENCODE: Final = msgspec.msgpack.Encoder().encode


class PluginChild(Child):
    """A child, with what is called of its plugin; other than that as `supervision.Child` has it.

    Attributes:
        known: The exceptions that arrive as themselves.
        is_judged: As `remote.Peer` has it.
    """

    def __init__(
        self,
        system: System,
        nursery: Nursery,
        job: Mapping[str, object],
        peer: str,
        hear: Callable[[bool, str], None],
        contracts: Mapping[str, type],
        known: tuple[type[BaseException], ...],
    ) -> None:
        """Starts one, as `Child` does.

        Args:
            system: As there.
            nursery: As there.
            job: As there.
            peer: As there.
            hear: As there.
            contracts: The host's contracts by name.
            known: The exceptions that arrive as themselves.
        """
        self.known, self.is_judged = known, True
        self._contracts = contracts
        super().__init__(system, nursery, job, peer, hear)

    def init(self, host: PluginHost, seconds: float) -> None:
        """Calls the plugin's `init`; its host's services answer the child from then on."""
        assert self.control is not None
        contracts = dict(self._contracts)
        offered = Offered(
            host,
            contracts,
            self.control.back,
            lambda message: self.ask(frames.EVENT, message, None),
            self.pool.context_of,
        )
        offered.begin(START_SECONDS)
        self._asked(frames.INIT, frames.message(_ENCODE(offered.init())), "init", seconds)

    def validate(self, seconds: float) -> None:
        """Calls the plugin's `validate`."""
        self._asked(frames.VALIDATE, EMPTY, "validate", seconds)

    def shutdown(self, seconds: float) -> None:
        """Calls the plugin's `shutdown`."""
        self._asked(frames.SHUTDOWN, EMPTY, "shutdown", seconds)

    def export_state(self, seconds: float) -> object:
        """Returns the plugin's state; one that takes too long goes on serving."""
        data = self._asked(frames.EXPORT, EMPTY, "export_state", seconds)
        try:
            return unpacked(data, object)
        except PluginCallError as exc:
            raise RemoteFailure(exc.finding.code, f"returned no state: {exc.finding.message}") from exc

    def restore_state(self, state: object, seconds: float) -> None:
        """Gives the plugin a state. A child that is started after this one has ended begins without."""
        self._asked(frames.RESTORE, frames.message(handover.packed(state)), "restore_state", seconds)

    def call(self, method: Method, message: Message, timeout: float | None) -> Frame:
        """Returns the reply to a call."""
        return self.pool.call(method.operation, message, timeout)

    def stream(
        self, method: Method, message: Message, timeout: float | None, failed: Callable[[PluginCallError], Exception]
    ) -> Stream:
        """Returns the reply to a call that is a stream."""
        stream = self.pool.stream(method.operation, message, timeout)
        stream.failed = failed
        return stream

    async def call_async(self, method: Method, message: Message, timeout: float | None) -> Frame:
        """Returns the reply to a call, awaited."""
        return await self.awaited.call(method.operation, message, timeout)

    async def stream_async(
        self,
        method: Method,
        message: Message,
        timeout: float | None,
        failed: Callable[[PluginCallError], Awaitable[Exception]],
    ) -> AsyncStream:
        """Returns the reply to a call that is a stream, awaited."""
        stream = await self.awaited.stream(method.operation, message, timeout)
        stream.failed = failed
        return stream

    def is_callers_doing(self, message: Message, exc: PluginCallError) -> bool:
        """Returns whether the arguments are larger than any frame."""
        return exc.finding.code == "frame-too-large" and frames.is_too_large(message)

    def pulse(self, flag: Callable[[float], None]) -> Pulse:
        """Returns what sees whether it gives signs of life, over a channel of its own."""
        return Pulse(self, self.open(START_SECONDS), flag)

    def _asked(self, operation: int, message: Message, name: str, seconds: float) -> bytes:
        """Returns what the plugin returned when a method was called that is no contract's; raises as that did."""
        try:
            frame = self.ask(operation, message, seconds)
        except PluginCallError as exc:
            what = "was not called" if frames.is_too_large(message) else "did not return"
            rest = f" within {seconds:g} s" if exc.finding.code == "call-timeout" else f": {exc.finding.message}"
            raise RemoteFailure(exc.finding.code, what + rest) from exc
        if frame.flags & FAILED:
            raise remote.raised(name, self, Failure.unpack(frame))
        return frame.meta or frame.body
