"""Log records of a plugin in a child, which its host's logger handles."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from pluginhost.isolation.failures import clean
from pluginhost.isolation.services import TEXT_LIMIT, Record

if TYPE_CHECKING:
    from collections.abc import Callable


class Forwarding(logging.Handler):
    """Forwards the records of a child's logger."""

    def __init__(self, of: logging.Logger, log: Callable[[Record], object]) -> None:
        """Makes the only handler of a logger.

        Args:
            of: The plugin's logger.
            log: Hands a record to the host.
        """
        super().__init__()
        self._skips, self._log = len(of.name), log

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: the host's handlers may call this plugin, which may log on another thread.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._log(
                Record(
                    clean(record.name[self._skips :], TEXT_LIMIT),
                    record.levelno,
                    clean(record.getMessage(), TEXT_LIMIT),
                    clean(_trace(record), TEXT_LIMIT),
                    clean(record.pathname, TEXT_LIMIT),
                    record.lineno,
                    clean(record.funcName or "", TEXT_LIMIT),
                    clean(record.threadName or "", TEXT_LIMIT),
                    record.created,
                )
            )
        except Exception:  # as logging's own handlers do
            self.handleError(record)


def _trace(record: logging.LogRecord) -> str:
    text = record.exc_text or ""
    if record.exc_info and not text:
        text = logging.Formatter().formatException(record.exc_info)
    return "\n".join(filter(None, (text, record.stack_info)))


def handle(logger: logging.Logger, came: Record) -> None:
    """Has the plugin's logger, in the host, handle a record of a child's, as if it had been logged here."""
    name = logger.name + came.suffix
    record = logger.makeRecord(name, came.level, came.path, came.line, came.message, (), None, came.function)
    record.exc_text, record.threadName = came.trace or None, came.thread
    if 0 <= came.created <= time.time():  # what else a child says is no time that can be printed
        record.relativeCreated -= (record.created - came.created) * 1000
        record.created, record.msecs = came.created, math.modf(came.created)[0] * 1000
    logger.handle(record)
