"""The contracts that a pluginhost application and its plugins share.

A plugin imports this package and nothing else of its host. One process holds one copy of it, so that a contract is the
same class on both sides.
"""

from typing import TYPE_CHECKING

from pluginapi.contracts import (
    Event,
    Greeter,
    Handler,
    Host,
    Operation,
    Plugin,
    Request,
    Response,
    Transformer,
    idempotent,
)
from pluginapi.errors import ManifestError, PluginError
from pluginapi.version import API_VERSION, fingerprint

if TYPE_CHECKING:
    from pluginapi.manifest import Manifest
else:  # to a type checker, a module with a `__getattr__` has every name

    def __getattr__(name: str) -> object:
        if name != "Manifest":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Few read manifests, and whoever imports a contract starts faster without.
        from pluginapi.manifest import Manifest

        globals()[name] = Manifest
        return Manifest

    def __dir__() -> list[str]:
        return __all__


__all__ = [
    "API_VERSION",
    "Event",
    "Greeter",
    "Handler",
    "Host",
    "Manifest",
    "ManifestError",
    "Operation",
    "Plugin",
    "PluginError",
    "Request",
    "Response",
    "Transformer",
    "fingerprint",
    "idempotent",
]
