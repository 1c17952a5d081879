"""Log lines as go-hclog writes them: a plugin's standard error, read by its host, and written in a plugin.

A line is a JSON object with `@level`, `@message` and `@timestamp`, and what else is known of it in keys of its own; or
it is text, which may begin with its level in brackets (https://github.com/hashicorp/go-hclog).
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pluginhost.errors import describe, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

LINE_LIMIT: Final = 64 << 10
"""Bytes of a line; a host in Go takes what goes beyond for the next line."""
TRACE: Final = 5
"""The level below `logging.DEBUG`, which Python has no name for."""

_LEVELS: Final = {
    "trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR,
}  # fmt: skip
_PREFIXES: Final = {f"[{name.upper()}]": level for name, level in _LEVELS.items()}
_PANICS: Final = ("panic: ", "fatal error: ")
_OWN: Final = "@"
"""How the keys begin that are hclog's."""


class Entry(NamedTuple):
    """A line of a plugin's log.

    Attributes:
        level: As in `logging`.
        message: What it says, escaped; not what stands in the fields.
        fields: What is known of it besides, as the plugin wrote it.
    """

    level: int
    message: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        """Returns the line as hclog writes it for people."""
        try:
            pairs = " ".join(f"{name}={value}" for name, value in self.fields.items())
        except RecursionError:  # one that is as deep as can just be read
            pairs = ""
        return escape(f"{self.message}: {pairs}" if pairs else self.message, keep="\t")


class Reader:
    """Reads the lines of one plugin's standard error.

    What follows a panic, be it the stacks of goroutines, is part of it.
    """

    def __init__(self) -> None:
        self._has_panicked = False

    def read(self, line: bytes) -> Entry:
        """Returns what a line says; one that is not hclog's says itself.

        Args:
            line: The line, without its end.
        """
        try:
            said = _OBJECT(line)
            message, level = said.pop("@message", ""), _LEVELS[said.pop("@level")]
        except (msgspec.MsgspecError, ValueError, RecursionError, LookupError, TypeError):
            return self._plain(line.decode("utf-8", "replace").rstrip())
        said.pop("@timestamp", None)  # it came just now
        text = message if type(message) is str else _JSON(message).decode("utf-8", "replace")
        return Entry(level, escape(text, keep="\t"), said)

    def _plain(self, text: str) -> Entry:
        self._has_panicked = self._has_panicked or text.startswith(_PANICS)
        if self._has_panicked:
            level = logging.ERROR
        else:
            level = next((level for name, level in _PREFIXES.items() if text.startswith(name)), logging.DEBUG)
        return Entry(level, escape(text, keep="\t"), {})


class Handler(logging.Handler):
    """Writes records as hclog does, each as one line, for a host in Go to read.

    What a record has in `fields`, a mapping, becomes keys of the line.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Makes a handler.

        Args:
            write: Takes a whole line, with its end; of at most 64 KiB.
        """
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(line_of(record, self.format(record)))
        except Exception:  # as logging's own handlers do
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        # Not the handler's own formatter: that would put time and level into the message, and a traceback.
        return record.getMessage()


def line_of(record: logging.LogRecord, message: str) -> bytes:
    """Returns a record as a line of hclog's, with its end, cut to what a host reads as one.

    Args:
        record: What was logged.
        message: Its message, formatted.
    """
    time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).replace(tzinfo=None)
    head = {
        "@level": next((name for name, level in reversed(_LEVELS.items()) if record.levelno >= level), "trace"),
        "@timestamp": f"{time.isoformat(timespec='microseconds')}Z",  # else a host takes the line for text
    }
    trace = "\n".join(filter(None, (record.exc_text or _trace(record), record.stack_info)))
    given = getattr(record, "fields", None)
    fields = {_clean(str(name), 100): value for name, value in given.items()} if isinstance(given, dict) else {}
    limit = LINE_LIMIT
    while True:
        others = {name: _sayable(value, limit) for name, value in fields.items() if not name.startswith(_OWN)}
        texts = {"@message": message, "@module": record.name, "traceback": trace}
        told = {name: _clean(text, limit) for name, text in texts.items() if text or name == "@message"}
        line = _JSON({**others, **head, **told}) + b"\n"
        if len(line) <= LINE_LIMIT:
            return line
        limit //= 2
        if limit < 1 << 8:  # it is the number of fields
            fields = {}


def _trace(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""


def _sayable(value: object, limit: int) -> object:
    """Returns what JSON can say of a value, whatever that does when it is asked."""
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int and value.bit_length() < 63:
        return value
    try:
        text = str(value)
    except Exception as exc:
        text = f"<its text raised {describe(exc)}>"
    return _clean(text, limit)


def _clean(text: str, limit: int) -> str:
    """Returns the part of a text that is kept, without what UTF-8 cannot say; a trace is best known by its end."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-(limit // 2) :]}"
    return text.encode("utf-8", "backslashreplace").decode()


_OBJECT: Final = msgspec.json.Decoder(dict[str, Any]).decode
_JSON: Final = msgspec.json.Encoder().encode
