"""Contracts as `.proto` files, and the service that each program serves beside them.

A program in another language says with that service what it was made for, as a wheel says it with its manifest: the
pin and the fingerprint hold for it too. It need not write them down. Each contract's file has them as an option, which
the program hands on.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pluginapi
from pluginhost.goplugin.files import File
from pluginhost.identity import api_version
from pluginhost.isolation.codec import codec_of, method_of

if TYPE_CHECKING:
    from typing import Final


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract, as it was when its file was made.

    Attributes:
        package: The API package that defines it.
        version: That API's version; empty where it has none.
        fingerprint: The fingerprint of its structure; empty where it was built without.
        name: What it is called.
    """

    package: str
    version: str
    fingerprint: str
    name: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a program says of itself.

    Attributes:
        contracts: Those that it serves, each with the option `contract` of its file.
        capabilities: What it can do beyond them, by names that its host knows.
    """

    contracts: list[Contract]
    capabilities: list[str]


class Plugin(ABC):
    """A program's part in its life as a plugin; it serves this beside its contracts."""

    @abstractmethod
    def describe(self) -> Description:
        """Says what the program was made for; called first, before anything else of it."""

    @abstractmethod
    def init(self, name: str, config: bytes, capabilities: list[str]) -> None:
        """Starts its work; called once. An error refuses the plugin, with its message.

        Args:
            name: The plugin's name.
            config: Its own configuration: a JSON object.
            capabilities: What the application offers beyond the contracts, by names that its documentation explains.
        """

    @abstractmethod
    def validate(self) -> None:
        """Says whether it is fit to be called; called once, after Init, and changes nothing. An error: it is not."""

    @abstractmethod
    def shutdown(self) -> None:
        """Ends its work; called once, after the last call. The process ends after it."""


_OPTION: Final = "contract"
_NUMBER: Final = 76_483
"""Of the option, from those that protobuf leaves to everybody: https://protobuf.dev/programming-guides/proto2."""


def _plugin() -> File:
    functions = (Plugin.describe, Plugin.init, Plugin.validate, Plugin.shutdown)
    file = File(Plugin, [method_of(each.__name__, each, skips=1) for each in functions])
    file.define(_OPTION, _NUMBER, Contract.__name__)
    file.explain("What every program serves that is a plugin of pluginhost. Written by `pluginhost proto Plugin`.")
    return file


PLUGIN: Final = _plugin()
"""The file of the service that each program serves beside its contracts."""


@functools.cache
def file_of(contract: type) -> File:
    """Returns a contract's `.proto` file, the same each time; `files` says what follows from what.

    Args:
        contract: A class of an API package.

    Raises:
        ConfigurationError: Something of it has no annotation, or one for which there is nothing in protobuf.
    """
    codec = codec_of(contract)
    file = File(contract, [*codec.methods.values(), *codec.reads.values(), *codec.writes.values()])
    stated = contract_of(contract)
    file.state(PLUGIN, _OPTION, asdict(stated))
    api = " ".join(filter(None, (stated.package, stated.version)))
    file.explain(f"The contract {stated.name} of {api}. Written by `pluginhost proto {stated.name}`: do not edit.")
    return file


def contract_of(contract: type) -> Contract:
    """Returns what a contract's file says of it: what it is here, and now."""
    package = contract.__module__.partition(".")[0]
    try:
        fingerprint = pluginapi.fingerprint(package)
    except pluginapi.ManifestError:  # it was not built as an API, or is not installed
        fingerprint = ""
    return Contract(package, api_version(package) or "", fingerprint, contract.__name__)
