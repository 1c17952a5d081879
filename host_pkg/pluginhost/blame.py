"""Whose fault it is when a call raises, and what its caller is told.

Nothing that a plugin raises reaches its caller as it is, but for what is no failure of the plugin's: its word to the
caller (`PluginError`), another plugin's failure that comes through it, what Python's own protocols raise for an answer,
and what came from outside while the call ran: a person's Ctrl-C, the task's cancellation, the end of a generator.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pluginapi
from pluginhost import identity, places
from pluginhost.errors import Finding, PluginCallError, PluginHostError, RemoteFailure
from pluginhost.interrupts import is_persons, is_raised, led_to

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.loading import Loaded

ANSWERS: Final = {"__next__": StopIteration, "__anext__": StopAsyncIteration, "__getitem__": LookupError}
"""What a method raises for an answer, as Python's own protocols have it."""


class Blame:
    """Tells the failures of one plugin's calls from what is not its doing.

    Attributes:
        plugin: The plugin's name.
        version: Its distribution's version.
        text: The plugin as a message names it.
    """

    __slots__ = ("_loaded", "plugin", "text", "version")

    def __init__(self, plugin: str, text: str, loaded: Loaded) -> None:
        self.plugin = plugin
        self.version = loaded.candidate.distribution.version
        self.text = text
        self._loaded = loaded

    def judge(self, method: str, exc: BaseException, *, waits: bool = False) -> None:
        """Returns if what a call raised is no failure of the plugin's, and reaches its caller as it is.

        Args:
            method: What was called.
            exc: What it raised.
            waits: Whether it is a coroutine or a generator, which others can end while it waits.

        Raises:
            PluginCallError: It is the plugin's failure.
        """
        if not self._passes(method, exc, waits):
            raise self.failed(method, exc) from exc

    def failed(self, method: str, exc: BaseException, hint: str = "") -> PluginCallError:
        """Returns the error that a call raised.

        Args:
            method: What was called.
            exc: What it raised.
            hint: What to do about it, where the caller knows better.
        """
        if type(exc) is RemoteFailure:
            return self.error(exc.code, method, f"{method} {exc.what}", exc.hint or self._usual_hint())
        missing = type(exc) in (AttributeError, NotImplementedError) and not self._defines(method)
        if missing and self._loaded.built_against:
            what = f"it has no {method}: it was built for the API {self._loaded.built_against}"
            upgrade = f"install a newer version: pip install --upgrade {self._loaded.candidate.distribution.name}"
            return self.error("method-missing", method, what, upgrade)
        what = f"{method} {places.raised(exc, self._loaded.candidate.module)}"
        return self.error("call-failed", method, what, hint or self._usual_hint())

    def error(self, code: str, method: str, what: str, hint: str) -> PluginCallError:
        """Returns the error that a call failed, as a code of the catalogue has it."""
        finding = Finding(code, f"{self.text}: {what}", hint, self._loaded.candidate.distribution.info)
        return PluginCallError(finding, plugin=self.plugin, version=self.version, method=method)

    def _usual_hint(self) -> str:
        return f"other arguments may do; else {self.way_out()}"

    def way_out(self) -> str:
        """Returns what may be done about a plugin whose calls fail."""
        of = self._loaded.candidate.distribution
        if not of.info:  # the application's own
            return "mend it: it is the application's own"
        return f"tell the author of {of.name}{self._loaded.candidate.without}"

    def _passes(self, method: str, exc: BaseException, waits: bool) -> bool:
        kind = type(exc)
        if issubclass(kind, KeyboardInterrupt):
            return is_persons(exc)
        if issubclass(kind, GeneratorExit):
            ends = [each for each in led_to(exc) if issubclass(type(each), GeneratorExit)]
            return waits and not all(map(is_raised, ends))
        if _is_cancellation(kind):
            return waits and _is_cancelled()
        if issubclass(kind, SystemExit):
            return False
        if issubclass(kind, pluginapi.PluginError | PluginHostError):
            return True
        return method in ANSWERS and issubclass(kind, ANSWERS[method])

    def _defines(self, name: str) -> bool:
        """Returns whether the plugin has something of its own under a name, and not its contract's default alone."""
        package = self._loaded.candidate.module.partition(".")[0]
        classes = identity.real_mro(self._loaded.plugin)
        own = [cls for cls in classes if identity.module_of(cls).partition(".")[0] == package]
        return any(name in identity.defined_by(cls) for cls in own)


def _is_cancellation(kind: type) -> bool:
    cancelled = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", None)
    return cancelled is not None and issubclass(kind, cancelled)


def _is_cancelled() -> bool:
    """Returns whether somebody cancels the task that runs; a plugin may raise the same without that."""
    import asyncio  # what is raised is its own

    if asyncio._get_running_loop() is None or (task := asyncio.current_task()) is None:
        return False
    return not hasattr(task, "cancelling") or bool(task.cancelling())  # which another library's need not have
