"""One value of a configuration file, set in place: all else of the file stays as it is, to the letter."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import tempfile
import tomllib
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.items import InlineTable

from pluginhost import config
from pluginhost.errors import ConfigurationError, Finding
from pluginhost.validation import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def set_values(file: str, settings: Sequence[tuple[str, ...]], value: bool) -> bool:
    """Returns whether a file was changed so that settings have a value; one where they have it is left alone.

    A file that is not there is made, with its folder, for the user alone. One that is there is replaced at once, with
    its mode, and where it is a link, the file that the link names.

    Args:
        file: Its path; a pyproject.toml has the setting in its table `[tool.pluginhost]`.
        settings: The keys of each: `("plugins", "english", "enabled")`.
        value: What they are set to.

    Raises:
        ConfigurationError: It cannot be read or written, is not TOML, or nobody could change it without changing more.
    """
    is_there = os.path.lexists(file)
    if is_there:
        config.read(file)
    text = config.content(file)[0].decode() if is_there else ""
    changed = text
    for setting in settings:
        keys = ("tool", "pluginhost", *setting) if os.path.basename(file) == config.PYPROJECT else setting
        made = edited(changed, keys, value)
        if made is None:
            line = f"{joined('', keys)} = {str(value).lower()}"
            message = f"{file} has {joined('', keys[:-1])} in a form that the command does not change"
            raise ConfigurationError(Finding("configuration-wrong", message, f"write it in an editor: {line}", file))
        changed = made
    if changed == text:
        return False
    try:
        _write(file, changed.encode())
    except OSError as exc:
        hint = "mend the permissions, or name another file with --config"
        finding = Finding("target-unwritable", f"{file} cannot be written: {exc}", hint, file)
        raise ConfigurationError(finding) from exc
    return True


def edited(text: str, keys: tuple[str, ...], value: bool) -> str | None:
    """Returns a document with one value set; `None` when that cannot be done without changing anything else.

    There are several ways to write it. The first is taken that proves to change the value, and no other letter.
    """
    before = tomllib.loads(text)
    wanted = copy.deepcopy(before)
    table: Any = wanted
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return None
    if table.get(keys[-1]) is value:
        return text
    table[keys[-1]] = value
    ways = _ways(text, keys, value)
    return next((each for each in ways if _is_same(each, wanted) and _is_small(text, each)), None)


def _ways(text: str, keys: tuple[str, ...], value: bool) -> Iterator[str]:
    """Yields the document with one value set, the ways that a person would choose first."""
    end = "\r\n" if "\r\n" in text else "\n"
    if _at(tomllib.loads(text), keys) is not None:
        yield _by_tomlkit(text, keys, value, end)
        return
    line = f"{keys[-1]} = {str(value).lower()}"
    lines = text.splitlines(keepends=True)
    for number, header in enumerate(lines, 1):
        if _table_of(header) == keys[:-1]:
            indent = header[: len(header) - len(header.lstrip())]
            gap = "" if header.endswith("\n") else end
            yield "".join([*lines[:number], gap, indent, line, end, *lines[number:]])
    yield _by_tomlkit(text, keys, value, end)  # to an inline table, or among dotted keys
    gap = "" if not text or text.endswith("\n") else end
    yield f"{text}{gap}{text and end}[{joined('', keys[:-1])}]{end}{line}{end}"


def _by_tomlkit(text: str, keys: tuple[str, ...], value: bool, end: str) -> str:
    """Returns the document as tomlkit changes it; as it was, where that is beyond it."""
    try:
        document = tomlkit.parse(text)
        table: Any = document
        for key in keys[:-1]:
            if key not in table:
                if not isinstance(table, InlineTable):
                    return text  # a new table is told better from what follows it at the end
                table[key] = tomlkit.inline_table()
            table = table[key]
        table[keys[-1]] = value
        changed = tomlkit.dumps(document)
    except Exception:  # tomlkit has its limits, as with a table in several places
        return text
    return changed if end == "\n" else re.sub(r"(?<!\r)\n", end, changed)


def _table_of(line: str) -> tuple[str, ...]:
    """Returns the keys that a header names; none for another line."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        table: Any = tomllib.loads(line)
    except (ValueError, RecursionError):  # of an array or a text over several lines
        return ()
    keys: list[str] = []
    while table and isinstance(table, dict):
        (key,) = table
        keys.append(key)
        table = table[key]
    return tuple(keys)


def _at(table: Any, keys: tuple[str, ...]) -> object:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _is_same(text: str, wanted: object) -> bool:
    """Returns whether a document says what is wanted, and nothing else."""
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    first, second = (json.dumps(each, sort_keys=True, default=repr) for each in (found, wanted))
    return first == second  # as text, since not even a number that is none equals itself


def _is_small(before: str, after: str) -> bool:
    """Returns whether nothing of a document is gone but blanks, or the value that was replaced."""
    common = len(os.path.commonprefix([before, after]))  # noqa: RUF071 - texts, not paths
    rest, other = before[common:], after[common:]
    kept = len(os.path.commonprefix([rest[::-1], other[::-1]]))  # noqa: RUF071
    gone = rest[: len(rest) - kept].strip(" ")
    return gone in "true" or gone in "false"


def _write(file: str, content: bytes) -> None:
    """Puts a new file in the place of an old one, or of none, at once."""
    target = os.path.realpath(file)
    folder = os.path.dirname(target)
    os.makedirs(folder, 0o700, exist_ok=True)
    descriptor, written = tempfile.mkstemp(prefix=".pluginhost-", dir=folder)  # which the user alone may read
    try:
        with open(descriptor, "wb") as new:
            new.write(content)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(target)
                if hasattr(os, "fchown"):
                    with contextlib.suppress(PermissionError):  # a group that the user is not in
                        os.fchown(descriptor, status.st_uid, status.st_gid)
                os.chmod(written, status.st_mode & 0o7777)
            new.flush()
            os.fsync(descriptor)
        os.replace(written, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(written)
        raise
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
