"""A plugin's state on its way from one generation to the next.

It crosses as plain data, packed, in one process as in two: an object of the old generation's classes would keep these
in memory, and the new one could not tell what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from pluginhost import identity, places
from pluginhost.errors import Finding, PluginHostError, PluginTypeError, describe
from pluginhost.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.survey import Candidate


class Stated(NamedTuple):
    """What a plugin's class says of its state.

    Attributes:
        exports: Whether it has an `export_state`.
        restores: Whether it has a `restore_state`.
        version: What its `export_state` returns, as a number: its `state_version`, 1 when it has none.
        accepts: The versions that its `restore_state` takes: its `state_accepts`, and else its own.
        is_snapshot: Whether its state is taken while it still serves, and not after its last call: its
            `state_snapshot`.
    """

    exports: bool = False
    restores: bool = False
    version: int = 1
    accepts: frozenset[int] = frozenset({1})
    is_snapshot: bool = False


def stated(plugin: object, candidate: Candidate) -> Stated:
    """Returns what a plugin's class says of its state.

    Raises:
        PluginTypeError: It says something else than a number, numbers, or yes or no.
    """
    exports, restores = (callable(identity.stated(plugin, name)) for name in ("export_state", "restore_state"))
    version = identity.stated(plugin, "state_version", 1)
    if type(version) is not int:
        raise _broken(candidate, "state_version", version, "a number")
    accepts: Any = identity.stated(plugin, "state_accepts", frozenset({version}))
    if type(accepts) not in (set, frozenset, tuple, list) or any(type(each) is not int for each in accepts):
        raise _broken(candidate, "state_accepts", accepts, "a set of numbers")
    is_snapshot = identity.stated(plugin, "state_snapshot", False)
    if type(is_snapshot) is not bool:
        raise _broken(candidate, "state_snapshot", is_snapshot, "True or False")
    return Stated(exports, restores, version, frozenset(accepts), is_snapshot)


def require_taken(before: Stated, after: Stated, candidate: Candidate) -> None:
    """Returns if a new generation takes the state that the one before exports.

    Args:
        before: What the generation that serves says of its state.
        after: What the new one says.
        candidate: What the new one was made of.

    Raises:
        PluginHostError: It does not.
    """
    if not after.restores:
        raise _refused(candidate, "has no restore_state, and the generation that serves has a state")
    if before.version not in after.accepts:
        known = ", ".join(map(str, sorted(after.accepts))) or "none"
        raise _refused(candidate, f"does not take version {before.version} of the state; it takes {known}")


def export(plugin: Any, candidate: Candidate) -> bytes:
    """Returns the state of a plugin, packed.

    Raises:
        PluginHostError: Its `export_state` raised, or returned what is no plain data.
    """
    state = _called(plugin.export_state, (), "state-failed", candidate, "export_state")
    try:
        return packed(state)
    except TypeError as exc:
        raise _error("state-failed", candidate, f"export_state {exc}") from exc


def restore(plugin: Any, state: bytes, candidate: Candidate) -> None:
    """Gives a plugin the state of the generation before.

    Raises:
        PluginHostError: Its `restore_state` raised, or returned something, as an `async def` does; or the state can be
            packed and not unpacked, as a table whose key is one.
    """
    try:
        given = unpacked(state)
    except Exception as exc:
        raise _refused(candidate, f"what export_state returned cannot be unpacked: {describe(exc)}") from exc
    returned = _called(plugin.restore_state, (given,), "state-refused", candidate, "restore_state")
    if returned is not None:
        what = (
            f"restore_state returned a {identity.class_name(returned)}, and is to return nothing; it is no `async def`"
        )
        raise _refused(candidate, what)


def packed(state: object) -> bytes:
    """Returns a state, packed.

    Raises:
        TypeError: It is no plain data.
    """
    try:
        return _ENCODE(state)
    except Interrupted:
        raise
    except BaseException as exc:  # whatever an object raises that is looked at
        raise TypeError(f"returned a {identity.class_name(state)} that is no plain data: {describe(exc)}") from exc


def _called(
    function: Callable[..., object], given: tuple[object, ...], code: str, candidate: Candidate, name: str
) -> object:
    try:
        return function(*given)
    except Interrupted:
        raise
    except BaseException as exc:
        raise _error(code, candidate, f"{name} {places.raised(exc, candidate.module)}") from exc


def _refused(candidate: Candidate, what: str) -> PluginHostError:
    return _error("state-refused", candidate, what)


def _error(code: str, candidate: Candidate, what: str) -> PluginHostError:
    cold = f"; or set cold_start for {candidate.name}" if code == "state-refused" else ""
    hint = f"tell the author of {candidate.distribution.name}{cold}"
    return PluginHostError(Finding(code, f"{candidate}: {what}", hint, candidate.distribution.info))


def _broken(candidate: Candidate, name: str, value: object, wanted: str) -> PluginTypeError:
    what = f"{candidate}: its {name} is a {identity.class_name(value)}, not {wanted}"
    hint = f"its author writes {wanted}, or leaves it out; tell the author of {candidate.distribution.name}"
    return PluginTypeError(Finding("contract-broken", what, hint, candidate.distribution.info))


_ENCODE: Final = msgspec.msgpack.Encoder().encode
unpacked: Final = msgspec.msgpack.Decoder().decode
"""Returns the state that was packed."""
