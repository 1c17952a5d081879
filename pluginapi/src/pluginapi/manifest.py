"""The manifest: static facts stamped into a wheel when it is built, and read without an import."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from pluginapi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class BuiltAgainst:
    """The API that a plugin's wheel was built against.

    Attributes:
        package: The API's import name.
        distribution: The API's distribution.
        version: That distribution's version at the time.
        fingerprint: The hash of the API's structure at the time.
    """

    package: str
    distribution: str
    version: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Provides:
    """The API package that a distribution provides.

    Attributes:
        package: Its import name.
        fingerprint: The hash of its structure.
        contracts: The names of its contracts, sorted.
    """

    package: str
    fingerprint: str
    contracts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Requires:
    """What a plugin requires of the host that runs it.

    Attributes:
        plugins: Other plugins, by name, that must serve before this one starts.
        contracts: Contracts, each of which at least one other plugin must serve.
        capabilities: Capabilities, each of which at least one other plugin must have.
        host: Capabilities that the host itself must offer.
    """

    plugins: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    host: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """One plugin of a distribution.

    Attributes:
        group: Its entry-point group.
        name: Its name in that group.
        entry_point: `module:factory`, or `module` alone when the factory is `New`.
        contracts: The contracts that it says it implements; `None` when it does not say.
        capabilities: What it says it can do, beyond its contracts.
        requires: What it requires of its host.
        program: The executable that it is, in place of a module: a file of the wheel, or a name without a folder;
            `None` for a plugin in Python.
    """

    group: str
    name: str
    entry_point: str
    contracts: tuple[str, ...] | None
    capabilities: tuple[str, ...]
    requires: Requires = Requires()
    program: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a wheel says of itself: the API it was built against, its plugins, the API it provides.

    Attributes:
        api: The API built against; `None` in a distribution without plugins.
        provides: The API provided; `None` unless the distribution is an API distribution.
        plugins: Its plugins, in the order of group and name.
    """

    FILE: ClassVar = "extra_metadata/pluginapi.json"
    SCHEMA: ClassVar = 1

    api: BuiltAgainst | None = None
    provides: Provides | None = None
    plugins: tuple[PluginEntry, ...] = ()

    def to_json(self) -> str:
        """Returns the manifest as JSON, the same bytes for the same facts."""
        return json.dumps({"schema": self.SCHEMA} | asdict(self), indent=1, sort_keys=True, ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Returns the manifest that some JSON holds; keys of later versions are passed over.

        Args:
            text: The content of a wheel's `extra_metadata/pluginapi.json`.

        Raises:
            ManifestError: It is not JSON, or not the manifest's shape.
        """
        try:
            data = json.loads(text)
            if data["schema"] != cls.SCHEMA:
                raise ManifestError(f"the manifest has schema {data['schema']!r}, this pluginapi reads {cls.SCHEMA}")
            api, provides = data["api"], data["provides"]
            return cls(
                api=api and BuiltAgainst(*(_text(api[key]) for key in BuiltAgainst.__slots__)),
                provides=provides
                and Provides(_text(provides["package"]), _text(provides["fingerprint"]), _texts(provides["contracts"])),
                plugins=tuple(
                    PluginEntry(
                        _text(plugin["group"]),
                        _text(plugin["name"]),
                        _text(plugin["entry_point"]),
                        None if plugin["contracts"] is None else _texts(plugin["contracts"]),
                        _texts(plugin["capabilities"]),
                        _requires(plugin.get("requires", {})),
                        _program(plugin),
                    )
                    for plugin in data["plugins"]
                ),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise ManifestError(f"the manifest is malformed: {type(exc).__name__}: {exc}") from exc


def is_program(text: str) -> bool:
    """Returns whether a text can be a plugin's `program`.

    That is a path with forward slashes that stays below the wheel's root, or a name without a folder.
    """
    is_plain = text.isprintable() and "\\" not in text and ":" not in text  # a colon has a drive before it
    return is_plain and all(part not in ("", ".", "..") for part in text.split("/"))


def _program(plugin: Mapping[str, object]) -> str | None:
    program = plugin.get("program")
    if program is None:
        return None
    if not is_program(_text(program)):
        raise ValueError(f"{program!r} is not a program")
    if not plugin["contracts"]:
        raise ValueError(f"the program {program!r} has no contracts")
    return _text(program)


def _requires(value: object) -> Requires:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return Requires(*(_texts(value.get(key, [])) for key in Requires.__slots__))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(map(_text, value))
