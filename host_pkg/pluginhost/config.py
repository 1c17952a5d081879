"""What the application and the operator set: arguments and files, which of them counts, and what comes of it."""

from __future__ import annotations

import os
import sys

from pluginhost.errors import ConfigurationError, Finding, wrong
from pluginhost.index import absolute, home, is_regular

# What reads and checks a file is imported once there is one: a command without any is as fast as before.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from pluginhost.settings import Configuration
    from pluginhost.validation import Fault, Keys

FILE = "pluginhost.toml"
PYPROJECT = "pyproject.toml"
LARGEST = 1 << 20
"""Bytes of a file at most."""

_LISTS = ("plugin_dirs", "capabilities", "allow")

NEEDS_PROCESS = 'write isolation = "process": one process cannot have two versions of a module'
"""The hint for an instance from a wheel that is to run in the application's process."""


class Layer:
    """What one file, or the application, sets.

    Attributes:
        file: The file, as messages name it; empty for arguments.
        values: What is set.
        is_own: Whether the file belongs to who runs this.
    """

    __slots__ = ("file", "is_own", "values")

    def __init__(self, file: str, values: Mapping[str, object], *, is_own: bool = True) -> None:
        self.file = file
        self.values = values
        self.is_own = is_own


def configuration(
    given: Mapping[str, object],
    file: str | os.PathLike[str] | Mapping[str, object] | None = None,
    others: Sequence[Layer] = (),
) -> Configuration:
    """Returns all that is set for one manager.

    Args:
        given: Its arguments. They come before all else.
        file: The path of a file, or what would be in it.
        others: Further files; the first of them comes before the next.

    Raises:
        ConfigurationError: A file cannot be read, a setting is unknown or missing, or a value is wrong: the message
            has its path, and the file that it is in. All that is wrong is told at once.
    """
    from itertools import islice

    from pluginhost.settings import Configuration
    from pluginhost.validation import MOST, require, shown

    layers = [*reversed(others), Layer("", as_in_a_file(given))]
    if isinstance(file, (str, os.PathLike)):
        layers.insert(-1, read(file))
    elif file is not None and not hasattr(file, "keys"):
        raise wrong(f"configuration is {shown(file)}", "give the path of a file, or a table")
    elif file is not None:
        layers.insert(-1, Layer("", as_in_a_file(file)))
    if found := list(islice(faults(layers), MOST)):
        raise ConfigurationError(*found)
    values = merged(layers)
    if values.get("api") == "none":
        values["api"] = None
    return require(values, Configuration)


def schema() -> dict[str, Any]:
    """Returns the JSON schema of a pluginhost.toml."""
    from pluginhost import validation
    from pluginhost.settings import Configuration

    made = validation.schema(Configuration)
    del made["$defs"]["InstanceSettings"]["properties"]["distribution"]
    for definition in made["$defs"].values():
        for name, of in definition["properties"].items():
            if "anyOf" in of:  # TOML has no null: what is not set is left out
                (only,) = (each for each in of.pop("anyOf") if each != {"type": "null"})
                definition["properties"][name] = only | ({"default": of["default"]} if of.get("default") else {})
    return made


def faults(layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yields all that is wrong in layers, and last what is missing in all of them; each finding names the file."""
    from pluginhost.settings import Configuration
    from pluginhost.validation import MISSING
    from pluginhost.validation import faults as of_value

    for layer in layers:
        own = (*_of_instances(layer.values), *_of_routes(layer.values), *_of_control(layer.values))
        for fault in (*of_value(layer.values, Configuration), *own):
            if fault.what != MISSING:
                yield fault.finding(layer.file)
    both = merged(layers)  # what one file leaves out, another may have
    missing = (fault for fault in of_value(both, Configuration) if fault.what == MISSING)
    for fault in (*missing, *_of_wheels(both)):
        yield fault.finding(origin(layers, fault.keys[:-1]).file)


def _of_instances(values: Mapping[str, object]) -> Iterator[Fault]:
    """Yields what is wrong with instances that their type does not tell."""
    from pluginhost.validation import UNKNOWN, Fault, joined

    instances = values.get("instances")
    for name, settings in _items(instances):
        path = joined("instances", (name,))
        if not (name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()):
            yield Fault(("instances", name), path, "is not a name", "use ASCII letters, digits, `-`, `_` and dots")
        table = dict(_items(settings))
        if "distribution" in table:
            named = [each if isinstance(each, str) else "NAME" for each in (table.get("plugin"), table["distribution"])]
            hint = f'write plugin = "{"@".join(named)}"'
            yield Fault(("instances", name, "distribution"), f"{path}.distribution", UNKNOWN, hint)


def _of_routes(values: Mapping[str, object]) -> Iterator[Fault]:
    """Yields shares that cannot be."""
    from pluginhost.validation import Fault, joined

    for name, settings in _items(values.get("routes")):
        table = dict(_items(settings))
        canary, weights, rules = dict(_items(table.get("canary"))), _items(table.get("weights")), table.get("rules")
        path = joined("routes", (name,))
        sums: list[tuple[Keys, str, float]] = [(("weights",), f"{path}.weights", _sum(weights))]
        for at, rule in enumerate(rules if isinstance(rules, list) else ()):
            way = f"{path}.rules[{at}].weights"
            sums.append((("rules", at, "weights"), way, _sum(_items(dict(_items(rule)).get("weights")))))
        if canary:
            sums.append((("canary",), f"{path}.canary.share", _sum([("", canary.get("share", 5.0)), *weights])))
        for keys, way, total in sums:
            if round(total, 9) > 100:  # decimals add up to a little more or less
                yield Fault(("routes", name, *keys), way, f"leads to {total:g} % in all", "share out 100 % at most")
        if any(share and plugin == canary.get("plugin") for plugin, share in weights):
            hint = f"take it out of {path}.weights"
            yield Fault(("routes", name, "canary"), f"{path}.canary.plugin", "has a share already", hint)


def _sum(shares: list[tuple[str, object]]) -> float:
    """Returns the sum of what are shares; what is none is a fault already."""
    return sum(share for _, share in shares if isinstance(share, (int, float)) and 0 <= share <= 100)


def _of_wheels(values: Mapping[str, object]) -> Iterator[Fault]:
    """Yields the instances from a wheel that would run in the application's process."""
    from pluginhost.validation import Fault, joined

    for name, settings in _items(values.get("instances")):
        table = dict(_items(settings))
        if table.get("wheel") and table.get("isolation", "none") == "none":
            keys = ("instances", name, "wheel")
            yield Fault(keys, joined("", keys), "needs a process of its own", NEEDS_PROCESS)


def _of_control(values: Mapping[str, object]) -> Iterator[Fault]:
    """Yields that a setting needs what this system does not have: sockets that belong to one user."""
    from pluginhost.validation import Fault

    if values.get("control") is True and not hasattr(os, "getuid"):
        yield Fault(("control",), "control", "is not possible on Windows", "leave it out")


def _items(value: object) -> list[tuple[str, object]]:
    """Returns what is in a table; nothing when it is none."""
    is_table = hasattr(value, "keys")
    return [(key, inner) for key, inner in value.items() if isinstance(key, str)] if is_table else []  # type: ignore[attr-defined]


def names_in(layer: Layer, table: str) -> list[str]:
    """Returns the names that a layer has settings for, under `plugins` or `instances`."""
    return [name for name, _ in _items(layer.values.get(table))]


def merged(layers: Sequence[Layer]) -> dict[str, object]:
    """Returns what layers set together: a later one before an earlier one, tables key by key."""
    values: dict[str, object] = {}
    for layer in layers:
        values = _joined(values, layer.values)
    return values


def _joined(weak: Mapping[str, object], strong: Mapping[str, object]) -> dict[str, object]:
    both = dict(weak)
    for key, value in strong.items():
        before = both.get(key)
        are_tables = hasattr(before, "keys") and hasattr(value, "keys")
        both[key] = _joined(before, value) if are_tables else value  # type: ignore[arg-type]
    return both


def origin(layers: Sequence[Layer], keys: Keys) -> Layer:
    """Returns the layer that a value comes from, of those that have it the last."""
    return next((layer for layer in reversed(layers) if _has(layer.values, keys)), layers[-1])


def _has(value: object, keys: Keys) -> bool:
    for key in keys:
        if not hasattr(value, "keys") or key not in value:  # type: ignore[operator]
            return False
        value = value[key]  # type: ignore[index]
    return True


def read(path: str | os.PathLike[str]) -> Layer:
    """Returns what a file sets: all of it, or the table `[tool.pluginhost]` of a pyproject.toml.

    Wheels, and folders of wheels, are absolute there; in the file they are as from its own folder.

    Raises:
        ConfigurationError: It cannot be read, or is not TOML; the message has the file and the line.
    """
    import tomllib

    file = os.fspath(path)
    data, is_own = content(file)
    try:
        values: object = tomllib.loads(data.decode())
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _unreadable(file, f"is not UTF-8 (at line {line})", "save it as UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        last = data.rstrip().count(b"\n") + 1
        said = str(exc).replace("at end of document", f"at line {last}, the end")
        raise _unreadable(file, f"is not TOML: {said}", "mend it in an editor") from exc
    if os.path.basename(file) == PYPROJECT:
        values = _table(file, _table(file, values, "tool"), "tool", "pluginhost")
    return Layer(file, as_in_a_file(values, os.path.dirname(os.path.abspath(file))), is_own=is_own)  # type: ignore[arg-type]


def _table(file: str, values: object, *keys: str) -> object:
    inner = dict(_items(values)).get(keys[-1], {})
    if not isinstance(inner, dict):
        raise _unreadable(file, f"has {'.'.join(keys)}, which is no table", f"write a table [{'.'.join(keys)}]")
    return inner


def content(file: str) -> tuple[bytes, bool]:
    """Returns what is in a regular file, and whether it belongs to who runs this; anything else is not waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not is_regular(status):
                raise _unreadable(file, "is not a regular file", "name a file of TOML")
            content = opened.read(LARGEST + 1)
        is_own = not hasattr(os, "getuid") or {status.st_uid, os.lstat(file).st_uid} == {os.getuid()}
    except (OSError, ValueError) as exc:
        raise _unreadable(file, f"cannot be read: {exc}", "name a file that is there, and that you may read") from exc
    if len(content) > LARGEST:
        raise _unreadable(file, f"has more than {LARGEST:,} bytes", "what is so large is no configuration")
    return content, is_own


def _unreadable(file: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding("configuration-wrong", f"{file} {what}", hint, file))


def as_in_a_file(values: Mapping[str, object], folder: str = "") -> dict[str, object]:
    """Returns what is given with lists for what else Python has, and with folders and wheels that are absolute."""
    plain = dict(values)
    for key in _LISTS:
        value = plain.get(key)
        if value is None or isinstance(value, (str, bytes, os.PathLike)) or hasattr(value, "keys"):
            continue
        if hasattr(value, "__iter__"):
            plain[key] = list(value)
    folders = plain.get("plugin_dirs")
    if isinstance(folders, list) and all(isinstance(each, (str, bytes, os.PathLike)) for each in folders):
        plain["plugin_dirs"] = absolute([os.path.join(folder, os.fsdecode(each)) for each in folders])
    if tables := _items(plain.get("instances")):
        plain["instances"] = {name: _with_absolute_wheel(table, folder) for name, table in tables}
    return plain


def _with_absolute_wheel(table: object, folder: str) -> object:
    values = dict(_items(table))
    wheel = values.get("wheel")
    if not wheel or not isinstance(wheel, (str, os.PathLike)):
        return table
    [values["wheel"]] = absolute([os.path.join(folder, os.fsdecode(wheel))])
    return values


def command_layers(file: str | None) -> tuple[list[Layer], list[Finding]]:
    """Returns what the command reads, strongest first, and what is to be told of it.

    That is the file given, the one in the working folder, and the user's own. The one in the working folder may be
    anybody's, and code comes from wheels: those that it names count only if the file belongs to the user.

    Raises:
        ConfigurationError: One of them cannot be read.
    """
    layers, told = [read(file)] if file else [], []
    if here := working_layer():
        values = here.values if here.is_own else _without_wheels(here.values)
        if values != here.values:
            here.values = values
            told.append(
                Finding(
                    "config-not-owned",
                    f"{here.file} belongs to another user; its plugin_dirs, and instances from wheels, are left out",
                    f"once you have read it: --config {here.file}",
                    os.path.abspath(here.file),
                )
            )
        layers.append(here)
    if os.path.lexists(own := user_file()):
        layers.append(read(own))
    return layers, told


def _without_wheels(values: Mapping[str, object]) -> dict[str, object]:
    """Returns what a file sets but for what names wheels."""
    found = {key: value for key, value in values.items() if key != "plugin_dirs"}
    if tables := _items(found.get("instances")):
        found["instances"] = {name: table for name, table in tables if not dict(_items(table)).get("wheel")}
    return found


def working_layer() -> Layer | None:
    """Returns what the working folder sets: its pluginhost.toml, or else the table in its pyproject.toml, if any.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if os.path.lexists(FILE):
        return read(FILE)
    try:
        with open(os.open(PYPROJECT, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if b"pluginhost" not in file.read(LARGEST):
                return None
    except OSError:  # it is not there, or not about us
        return None
    layer = read(PYPROJECT)
    return layer if layer.values else None


def user_file() -> str:
    """Returns where the user's own file is, or would be, as platformdirs has it, without importing it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
        return os.path.join(base, "pluginhost", FILE)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(home(), *(("Library", "Application Support") if sys.platform == "darwin" else (".config",)))
    return os.path.join(base, "pluginhost", FILE)
