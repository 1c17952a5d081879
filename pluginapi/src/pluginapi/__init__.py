"""The contracts that a pluginhost application and its plugins share.

A plugin imports this package and nothing else of its host. One process holds one copy of it, so that a contract is the
same class on both sides.
"""

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
)
from pluginapi.errors import ManifestError, PluginError
from pluginapi.manifest import Manifest
from pluginapi.version import API_VERSION, fingerprint

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
]
