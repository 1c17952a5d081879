"""Who is there: what host and child tell each other before anything of the plugin runs, and what must be the same.

It is the type-identity rule across processes. Each side has its own copy of the API; they must be copies of one API,
and the plugin must be the one that was admitted. An upgrade while the host runs makes them two.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from pluginhost.errors import Finding, PluginLoadError
from pluginhost.identity import stated_version
from pluginhost.metadata import parse_metadata

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.isolation.codec import Codec
    from pluginhost.survey import Candidate

WIRE: Final = 1
"""The version of all that crosses."""
_STAMP: Final = os.path.join("extra_metadata", "pluginapi.json")
_LARGEST: Final = 1 << 20


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """What one side says of itself.

    Attributes:
        wire: The version of all that crosses.
        pluginhost: Where the host's own code was imported from.
        api: The API's import name.
        version: What the imported API says of its version; empty when nothing.
        fingerprint: What is stamped beside the package that was imported; empty where it is not installed there.
        plugin: The plugin's distribution and its version, as installed now.
    """

    wire: int
    pluginhost: str
    api: str
    version: str
    fingerprint: str
    plugin: str


_DECODE: Final = msgspec.msgpack.Decoder(Identity).decode


def identity(api: str, info: str) -> Identity:
    """Returns what this process is.

    Args:
        api: The API's import name; it is imported.
        info: The plugin's metadata folder.
    """
    folder = os.path.dirname(os.path.dirname(getattr(sys.modules[api], "__file__", None) or ""))
    return Identity(
        WIRE,
        os.path.dirname(os.path.dirname(__file__)),
        api,
        stated_version(api) or "",
        _stamped(folder, api),
        _installed(info),
    )


def require_same(host: Identity, data: bytes, candidate: Candidate) -> None:
    """Returns if a child is of the host's kind.

    Args:
        host: What the host is.
        data: What the child said.
        candidate: The plugin that was admitted.

    Raises:
        PluginLoadError: It is not; the message names both.
    """
    try:
        child = _DECODE(data)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise _mismatch(candidate, f"what it said is not what a child says: {exc}") from exc
    for name in Identity.__struct_fields__:
        here, there = getattr(host, name), getattr(child, name)
        if here != there:
            what = _WORDS[name]
            raise _mismatch(candidate, f"{what} is {there or 'not known'} there, and {here or 'not known'} here")


def require_same_contracts(ours: Codec, theirs: str, candidate: Candidate) -> None:
    """Returns if both sides make the same messages of the plugin's contracts.

    Raises:
        PluginLoadError: They do not.
    """
    if ours.digest != theirs:
        raise _mismatch(candidate, f"the contracts' methods are {theirs[:300]} there, and {ours.digest[:300]} here")


_WORDS: Final = {
    "wire": "the version of the wire",
    "pluginhost": "pluginhost",
    "api": "the API",
    "version": "the API's version",
    "fingerprint": "the API's fingerprint",
    "plugin": "the plugin",
}


def _mismatch(candidate: Candidate, what: str) -> PluginLoadError:
    hint = "something was installed since the application started: restart it"
    message = f"{candidate}: its process is not of the host's kind: {what}"
    return PluginLoadError(Finding("handshake-mismatch", message, hint, candidate.distribution.info))


def _installed(info: str) -> str:
    """Returns the name and version that a metadata folder states now; empty when it is gone."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(info, name), encoding="utf-8", errors="replace") as file:
                return " ".join(parse_metadata(file.read(_LARGEST))[:2])
        except (OSError, ValueError):
            continue
    return ""


def _stamped(folder: str, api: str) -> str:
    """Returns the fingerprint that is stamped into the distribution of an API that lies in a folder."""
    start = api.replace("_", "").lower()
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".dist-info")]
    except OSError:
        return ""
    names.sort(key=lambda name: not name.replace("_", "").lower().startswith(start))  # mostly it is called so
    for name in names:
        try:
            with open(os.path.join(folder, name, _STAMP), "rb") as file:
                provides = msgspec.json.decode(file.read(_LARGEST))["provides"]
            if provides["package"] == api:
                return str(provides["fingerprint"])
        except (OSError, msgspec.MsgspecError, KeyError, TypeError):
            continue
    return ""
