"""A program's plugin, as its host reaches it: what it says of itself, its life and its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
from grpclib.exceptions import GRPCError

from pluginhost import identity
from pluginhost.errors import PluginCallError, RemoteFailure, escape, wrong
from pluginhost.goplugin.offering import PICKED
from pluginhost.goplugin.proto import PLUGIN, contract_of
from pluginhost.goplugin.statuses import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from typing import Final

    from pluginhost.goplugin.client import AsyncGoPluginClient
    from pluginhost.goplugin.files import Method
    from pluginhost.goplugin.proto import Contract, Description

_SHOWN: Final = 200


class Far:
    """A program's plugin, as calls reach it; its coroutines are for the event loop of its client.

    Attributes:
        name: What its program calls it.
    """

    def __init__(self, client: AsyncGoPluginClient, name: str) -> None:
        """Makes what reaches a plugin.

        Args:
            client: The program.
            name: The plugin's name.

        Raises:
            ConfigurationError: The name is none.
        """
        if not name or not name.isascii() or not name.isprintable():
            raise wrong(f"{name!r} is no plugin's name", "give letters, digits, `-`, `_` and `.`")
        self.name = name
        self._client = client
        self._metadata: dict[str, str | bytes] = {PICKED: name}

    async def describe(self, timeout: float | None) -> Description:
        """Returns what the program says of the plugin.

        Args:
            timeout: Seconds that it may take, as for all that is called here; for ever when `None`.

        Raises:
            GoPluginError: It says nothing.
        """
        try:
            return cast("Description", await self._ask("describe", timeout))
        except RemoteFailure as exc:
            what = f"it does not say what {self.name} serves: Describe {exc.what}"
            raise self._client.failed("contract-unserved", what, _HINT) from exc

    async def init(
        self, name: str, config: Mapping[str, object], capabilities: Collection[str], timeout: float | None
    ) -> None:
        """Starts the plugin's work.

        Args:
            name: What it is called in its host, where it may be one of several that are made of it.
            config: Its own configuration.
            capabilities: What the application offers to it.
            timeout: Seconds that it may take.

        Raises:
            ConfigurationError: The configuration has something that JSON has not.
            PluginError: It refuses to be started, and says why.
            RemoteFailure: It failed.
            GoPluginError: The program is gone, or does not answer in time.
        """
        try:
            packed = msgspec.json.encode(dict(config), enc_hook=_plain)
        except Exception as exc:
            what = f"the configuration of {name} does not cross to its program: {escape(str(exc), limit=_SHOWN)}"
            raise wrong(what, "write text, numbers, true, false, dates, lists and tables") from exc
        await self._ask("init", timeout, name, packed, sorted(capabilities))

    async def validate(self, timeout: float | None) -> None:
        """Returns if the plugin says that it is fit to be called; raises as `init` does."""
        await self._ask("validate", timeout)

    async def shutdown(self, timeout: float | None) -> None:
        """Ends the plugin's work; its program runs until its client ends it. It raises as `init` does."""
        await self._ask("shutdown", timeout)

    def require(self, contracts: Collection[type], description: Description) -> None:
        """Returns if the program serves contracts as they are here.

        One that was made for an earlier minor version of the API does.

        Raises:
            GoPluginError: It does not serve one of them, or one that was made for another API.
        """
        for contract in contracts:
            own = contract_of(contract)
            of = [each for each in description.contracts if (each.package, each.name) == (own.package, own.name)]
            if not of:
                serves = ", ".join(f"{each.name} of {each.package}" for each in description.contracts) or "none"
                what = f"it does not serve {own.name} of {own.package}; it serves {escape(serves, limit=_SHOWN)}"
                raise self._client.failed("contract-unserved", what, _HINT)
            if found := _difference(own, of[0]):
                code, hint = found
                what = f"it was made for {_text(of[0])}, and the host has {_text(own)}"
                raise self._client.failed(code, what, hint)

    async def call(self, method: Method, request: bytes, timeout: float | None) -> bytes:
        """Returns the reply to a call.

        Raises:
            PluginError: The plugin says that it failed.
            RemoteFailure: It failed.
            GoPluginError: The program is gone, or does not answer in time.
        """
        try:
            return await self._client.call(method.path, request, timeout=timeout, metadata=self._metadata)
        except GRPCError as exc:
            raise failure_of(exc) from None

    async def stream(self, method: Method, request: bytes, timeout: float | None) -> AsyncGenerator[bytes, None]:
        """Yields the items of a stream.

        Args:
            method: What is called.
            request: Its arguments.
            timeout: Seconds that all of it may take.

        Raises:
            PluginError: As for `call`, as are the others.
        """
        replies = self._client.stream(method.path, request, timeout=timeout, metadata=self._metadata)
        try:
            async for reply in replies:
                yield reply
        except GRPCError as exc:
            raise failure_of(exc) from None
        finally:
            await cast("Any", replies).aclose()

    async def _ask(self, name: str, timeout: float | None, *arguments: object) -> Any:
        method = PLUGIN.methods[name]
        return value(method, await self.call(method, method.pack_call(arguments, {}), timeout))


def value(method: Method, reply: bytes) -> Any:
    """Returns what a reply has.

    Raises:
        RemoteFailure: It is not of its type.
    """
    try:
        return method.unpack_result(reply)
    except PluginCallError as exc:
        what = f"was answered with what is no answer: {exc.finding.message}"
        raise RemoteFailure(exc.finding.code, what, exc.finding.hint) from exc


def _difference(own: Contract, other: Contract) -> tuple[str, str] | None:
    """Returns the code and the hint of how a contract of the same name is another; `None` if it is not."""
    if own.version == other.version:
        if own.fingerprint and other.fingerprint and own.fingerprint != other.fingerprint:
            return "api-forked", "build the program anew from `pluginhost proto`, against the API that is installed"
        return None
    from packaging.version import InvalidVersion, Version  # mostly they are the same

    hint = f"build the program anew from `pluginhost proto {own.name}`, or install the API that it was made for"
    try:
        here, there = Version(own.version).release, Version(other.version).release
    except InvalidVersion:
        return "api-version", hint
    return None if here[0] == there[0] and here[:2] > there[:2] else ("api-version", hint)


def _text(contract: Contract) -> str:
    version, fingerprint = contract.version or "without a version", contract.fingerprint or "none"
    return escape(f"{contract.package} {version} (fingerprint {fingerprint})", limit=_SHOWN)


def _plain(value: object) -> object:
    """Returns a table that is read-only as one that is encoded.

    Raises:
        NotImplementedError: It is none.
    """
    if hasattr(value, "keys"):
        return dict(cast("Mapping[str, object]", value))
    raise NotImplementedError(f"a {identity.class_name(value)}")


_HINT: Final = "see that it is the program that you mean; its author serves each contract, and Plugin beside them"
