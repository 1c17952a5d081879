"""Lines of a plugin's log, read and written."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost.errors import escape
from pluginhost.goplugin import hclog
from pluginhost.goplugin.hclog import Handler, Reader


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.text(), st.none() | st.text() | st.integers()).map(lambda each: json.dumps(each).encode())
)
def test_any_line_is_read(line: bytes) -> None:
    entry = Reader().read(line)
    assert entry.level in (5, 10, 20, 30, 40)
    assert escape(str(entry), keep="\t") == str(entry)


def test_a_line_of_json_has_level_message_and_fields() -> None:
    line = b'{"@level":"warn","@message":"low","@timestamp":"2026-01-02T03:04:05.000006Z","@module":"m","left":3}'
    entry = Reader().read(line)
    assert entry == (logging.WARNING, "low", {"@module": "m", "left": 3})
    assert str(entry) == "low: @module=m left=3"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"[TRACE] x", 5), (b"[DEBUG] x", 10), (b"[INFO] x", 20), (b"[WARN] x", 30), (b"[ERROR] x", 40),
        (b"x", 10), (b"[NOTE] x", 10), (b"panic: x", 40), (b"fatal error: x", 40), (b"", 10),
        (b'{"@level":"loud"}', 10), (b'{"@level":[]}', 10), (b'{"a":1}', 10), (b"[1]", 10), (b"\xff\xfe", 10),
        (b'{"@level":"info","@message":{"a":1}}', 20), (b"[" * 60_000, 10), (b'{"a":' * 10_000, 10),
        (b'{"@level":"info","a":' + b"9" * 5_000 + b"}", 10),
    ],
)  # fmt: skip
def test_the_level_is_what_the_line_says_or_debug(line: bytes, level: int) -> None:
    entry = Reader().read(line)
    assert entry.level == level
    assert str(entry) or not line


def test_what_follows_a_panic_is_part_of_it() -> None:
    reader = Reader()
    assert reader.read(b"before").level == logging.DEBUG
    assert reader.read(b"panic: boom").level == logging.ERROR
    assert reader.read(b"goroutine 1 [running]:").level == logging.ERROR
    assert reader.read(b'{"@level":"info","@message":"still here"}').level == logging.INFO


def test_what_a_terminal_would_obey_is_escaped() -> None:
    entry = Reader().read(b'{"@level":"info","@message":"\\u001b[2J","k":"\\u001b"}')
    assert str(entry) == "\\x1b[2J: k=\\x1b"


def written(message: str, level: int = logging.INFO, **more: Any) -> dict[str, Any]:
    """Returns what a host reads of a record."""
    lines: list[bytes] = []
    logger = logging.Logger("plugin")
    logger.addHandler(Handler(lines.append))
    logger.log(level, "%s", message, **more)
    (line,) = lines
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= hclog.LINE_LIMIT
    said: dict[str, Any] = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", said["@timestamp"])
    assert isinstance(said["@message"], str)
    return said


@given(st.text(), st.integers(1, 60))
def test_a_record_is_read_as_it_was_written(message: str, level: int) -> None:
    said = written(message, level)
    entry = Reader().read(json.dumps(said).encode())
    assert entry.level == max((each for each in (5, 10, 20, 30, 40) if each <= level), default=5)
    assert said["@module"] == "plugin"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_fields_become_keys_and_none_can_break_the_line() -> None:
    fields = {"a": 1, "b": None, "c": Broken(), "@level": "x", 5: float("nan"), "d": 1 << 80, "\ud800": "\ud800"}
    said = written("m", extra={"fields": fields})
    assert said["a"] == 1
    assert said["@level"] == "info"
    assert "RuntimeError: no" in said["c"]
    assert said["d"] == str(1 << 80)


def test_an_exception_is_told() -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        said = written("failed", logging.ERROR, exc_info=True)
    assert said["traceback"].endswith("KeyError: 'lost'")


@pytest.mark.parametrize("character", ["x", "\0", "ü", "\ud800"])
def test_a_line_stays_as_short_as_a_host_reads_it(character: str) -> None:
    said = written(f"first{character * 90_000}last", extra={"fields": {"a": character * 70_000}})
    assert said["@message"].startswith("first")
    assert said["@message"].endswith("last")
    assert written("m", extra={"fields": {str(number): number for number in range(9_000)}})["@message"] == "m"


def test_a_record_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    written_lines: list[bytes] = []
    handler = Handler(written_lines.append)
    handler.handle(logging.LogRecord("n", 20, "", 1, "%d", ("x",), None))
    assert not written_lines
