"""`pluginhost serve`: plugins that are installed, as a program that go-plugin's hosts start."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

import click

from pluginhost import config
from pluginhost.cli.options import Host, complete_name, serving_options
from pluginhost.errors import ConfigurationError, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluginhost.goplugin.offering import Offer
    from pluginhost.lifecycle import Handle
    from pluginhost.manager import PluginManager


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=complete_name)
@click.option("--cookie-key", required=True, metavar="KEY", help="The host's magic cookie: the variable's name.")
@click.option("--cookie-value", required=True, metavar="VALUE", help="The host's magic cookie: its value.")
@click.option(
    "--protocol-version", type=click.IntRange(0), default=1, show_default=True, metavar="N",
    help="The version that is agreed upon with the host.",
)  # fmt: skip
@serving_options
def serve(host: Host, names: tuple[str, ...], cookie_key: str, cookie_value: str, protocol_version: int) -> None:
    """Serves plugins to a host of hashicorp/go-plugin, which starts this command as its plugin.

    Each contract is served as its .proto file has it. Of several plugins, a call names the one that is meant in the
    metadata pluginhost-plugin; else it is the first that has the contract.
    """
    from pluginhost.goplugin import HandshakeConfig
    from pluginhost.goplugin import serve as serve_services  # which says what to install

    handshake = HandshakeConfig(cookie_key, cookie_value, protocol_version)
    from pluginhost.goplugin.offering import Offering  # the other subcommands start without gRPC
    from pluginhost.goplugin.serving import require_host

    require_host(handshake, f"pluginhost serve {' '.join(names)}")
    with host.manager(control=False) as manager:
        with _nothing_printed():
            told = _Told(host, manager)
            offering = Offering([told.offer(manager.handle(name)) for name in names])
        serve_services([offering], handshake)


class _Told:
    """What the program's own host says of plugins: it goes before all that is set here."""

    def __init__(self, host: Host, manager: PluginManager) -> None:
        self._manager = manager
        self._layers = [*reversed(host.files)]
        self._lock = threading.Lock()

    def offer(self, handle: Handle) -> Offer:
        """Returns a plugin as it is offered.

        Raises:
            ConfigurationError: It has nothing that can be served.
        """
        from pluginhost.goplugin.offering import Offer, contracts_of  # as above
        from pluginhost.identity import import_contracts

        contracts = contracts_of(handle.plugin, import_contracts(self._manager.api))
        if not contracts:
            what = f"{handle} implements no contract, so there is nothing of it to serve"
            hint = "name the API package that has its contracts with --api"
            raise ConfigurationError(Finding("configuration-wrong", what, hint))
        return Offer(
            handle.name,
            {each: handle.require(each) for each in contracts},
            handle.capabilities,
            begin=lambda config, capabilities: self._begin(handle, config, capabilities),
            end=lambda: self._manager.stop(handle.name),
        )

    def _begin(self, handle: Handle, values: dict[str, object], capabilities: list[str]) -> None:
        """Has a plugin run with what the host gives it; made anew beside the one that runs, if that is another."""
        if not values and not capabilities:
            return
        with self._lock:
            table = "instances" if handle.name in self._manager.configuration.instances else "plugins"
            given: dict[str, object] = {table: {handle.name: {"config": values}}}
            if capabilities:
                given["capabilities"] = capabilities
            layers = [*self._layers, config.Layer("", given)]
            self._manager.apply(config.merged(layers))
            self._layers = layers


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """While it lasts, what is printed goes to standard error: the first line that a host reads is the handshake."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
