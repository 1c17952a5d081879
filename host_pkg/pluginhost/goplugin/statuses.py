"""What a call failed with, as a gRPC status.

| raised | status |
| --- | --- |
| `PluginError` | `INVALID_ARGUMENT`, with its message as it stands |
| the host's own errors | `INTERNAL`, with their code and message |
| `NotImplementedError` | `UNIMPLEMENTED` |
| anything else | `UNKNOWN`, with its type and message |

gRPC itself never gives `INVALID_ARGUMENT`, so it is the plugin's word to its caller, in whatever language it was said.
A plain error in Go is `UNKNOWN` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pluginapi import PluginError
from pluginhost.errors import PluginHostError, RemoteFailure, describe
from pluginhost.isolation.failures import clean

if TYPE_CHECKING:
    from typing import Final

_LIMIT: Final = 4 << 10
"""Bytes of a message: it goes in a header, and these have bounds."""


def status_of(exc: BaseException) -> GRPCError:
    """Returns the status that a caller is given for what a call raised.

    Args:
        exc: What was raised, whatever it does when it is asked.
    """
    kind = type(exc)
    if issubclass(kind, PluginError):
        # Its type is not a part of what it says.
        said = describe(exc)
        name: str = type.__dict__["__name__"].__get__(kind)
        return GRPCError(Status.INVALID_ARGUMENT, clean(said.removeprefix(f"{name}: "), _LIMIT))
    if issubclass(kind, PluginHostError):
        finding = exc.finding  # type: ignore[attr-defined]
        return GRPCError(Status.INTERNAL, clean(f"[{finding.code}] {finding.message}", _LIMIT))
    status = Status.UNIMPLEMENTED if kind is NotImplementedError else Status.UNKNOWN
    return GRPCError(status, clean(describe(exc), _LIMIT))


def failure_of(error: GRPCError) -> PluginError | RemoteFailure:
    """Returns what a call raises for the status that it was given."""
    message = error.message or ""
    if error.status is Status.INVALID_ARGUMENT:
        return PluginError(clean(message, _LIMIT))
    code = _CODES.get(error.status, "call-failed")
    why = f": {message}" if message else ""
    return RemoteFailure(code, clean(f"was answered with {error.status.name}{why}", _LIMIT))


_CODES: Final = {
    Status.UNIMPLEMENTED: "method-missing",
    Status.UNAVAILABLE: "channel-lost",
    Status.DEADLINE_EXCEEDED: "call-timeout",
}
