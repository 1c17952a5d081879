"""What is told when a program does not do its part: the command, and what it last wrote."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pluginhost.errors import Finding, GoPluginError, describe, escape

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.goplugin.channel import Channel
    from pluginhost.goplugin.hosting import Program

_TOLD: Final = 300


class Faults:
    """Makes the errors about one program, from what is known of it.

    Attributes:
        name: What it is called: its command.
        program: Its process, once there is one.
        channel: The channel to it, once there is one.
        is_unwanted: Whether it is to be ended, as soon as there is a process.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_unwanted = False
        self.program: Program | None = None
        self.channel: Channel | None = None

    def failed(self, code: str, what: str = "", hint: str = "") -> GoPluginError:
        """Returns an error.

        Args:
            code: A key of the catalogue.
            what: What is wrong; that it has ended when empty.
            hint: What to do about it; what is to be done about any of that code when empty.
        """
        message = self.program.told(what) if self.program else f"{self.name}: {what}"
        return GoPluginError(Finding(code, message, hint or _HINTS[code]))

    def about(self, exc: GoPluginError) -> GoPluginError:
        """Returns an error that says of the program what another says of nobody."""
        return self.failed(exc.finding.code, exc.finding.message, exc.finding.hint)

    def late(self, what: str, timeout: float | None) -> GoPluginError:
        """Returns the error that there was no answer.

        Args:
            what: What was called.
            timeout: Seconds that it could take.
        """
        return self.failed("peer-failed", f"{what}: there was no answer within {timeout or 0:g} s")

    async def lost(self, exc: BaseException, what: str, timeout: float | None) -> GoPluginError:
        """Returns what a caller is told whose call did not come back.

        Args:
            exc: What was raised.
            what: What was called.
            timeout: Seconds that it could take.
        """
        if isinstance(exc, TimeoutError):
            return self.late(what, timeout)
        if self.program is not None and await self.program.has_ended():
            return self.failed("program-died")
        broke = (self.channel.broke if self.channel else None) or exc
        if isinstance(broke, ssl.SSLError):
            wrong = f"one side does not take the other's certificate: {describe(broke)}"
            return self.failed("certificate-wrong", wrong)
        return self.failed("peer-failed", f"{what}: {escape(describe(exc), limit=_TOLD)}")


_HINTS: Final = {
    "program-unstartable": "correct the command, or install the program",
    "program-changed": "if you upgraded the program, set its new checksum; else get it anew from where it comes",
    "program-died": "see what it last wrote; before the handshake, compare the magic cookie with the one it wants",
    "handshake-late": "see what it last wrote; set `start_timeout` if it only needs more time",
    "handshake-malformed": "it must be a go-plugin program, and print nothing before the handshake",
    "certificate-wrong": "have both sides do AutoMTLS, or neither; if both do, find out who listens there",
    "peer-failed": "see what it last wrote, and whether it still runs",
}
