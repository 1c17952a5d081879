"""What a program writes, as records of the application's log."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from pluginhost.errors import escape
from pluginhost.goplugin.hclog import Reader
from pluginhost.goplugin.hosting import Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Logger: TypeAlias = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Log:
    """Hears what one program writes: each line is a record."""

    def __init__(
        self,
        logger: Logger,
        stdout: Callable[[bytes], object] | None,
        stderr: Callable[[bytes], object] | None,
    ) -> None:
        """Makes it.

        Args:
            logger: Whose records they are.
            stdout: What takes standard output in place of the log.
            stderr: What takes standard error beside the log.
        """
        self._logger = logger
        self._reader = Reader()
        self._lines, self._printed = Lines(self._hear), Lines(self._hear_printed)
        self._stdout, self._stderr = stdout, stderr

    def take_out(self, data: bytes) -> None:
        """Takes what it wrote to standard output."""
        (self._stdout or self._printed.feed)(data)

    def take_err(self, data: bytes) -> None:
        """Takes what it wrote to standard error."""
        self._lines.feed(data)
        if self._stderr is not None:
            self._stderr(data)

    def end(self) -> None:
        """Takes what is left for lines."""
        self._lines.end()
        self._printed.end()

    def _hear(self, line: bytes) -> None:
        entry = self._reader.read(line)
        if entry.message or entry.fields:
            self._logger.log(entry.level, "%s", entry, extra={"fields": dict(entry.fields)})

    def _hear_printed(self, line: bytes) -> None:
        if text := line.decode("utf-8", "replace").rstrip():
            self._logger.info("%s", escape(text, keep="\t"), extra={"fields": {}})


def logger_of(program: str) -> logging.Logger:
    """Returns the logger of a program that was given none."""
    parent = logging.getLogger("pluginhost")
    if not parent.handlers:  # a library prints nothing unless the application sets logging up
        parent.addHandler(logging.NullHandler())
    return parent.getChild(f"goplugin.{os.path.basename(program).partition('.')[0] or 'program'}")
