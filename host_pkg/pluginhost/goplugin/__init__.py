"""hashicorp/go-plugin, both ways: programs in Go as plugins of a Python host, and Python plugins of hosts in Go.

It needs `pip install 'pluginhost[goplugin]'`. Nothing of it is imported before it is asked for; within it, imports
point down:

```
loading                                      the way from a candidate to an object that a program answers
remote        children                       an object of a contract; a program that a manager looks after
blocking      far                            the client for those who do not await; a program's plugin as calls reach it
offering      client     serving             plugins as a program serves them; a program, and this process, as one
proto         looping                        contracts in other languages; an event loop on a thread of its own
starting      files                          from a command to a plugin that serves; a contract's file, and its calls
broker        faults     logs     stdio      connections back and beside; what is told; what is written, there and here
declaring     printing                       what a contract's file declares; its text
channel       listening  hosting  kinds      a connection and its calls; where one waits for it; a process; types there
certificates  services   hclog    life       AutoMTLS; what both sides serve; a log's lines; the host's death
plain         records    statuses            protobuf's own types; messages of a contract's own; what a call failed with
handshake     fields    programs             who starts whom, and what both tell each other first; what a field holds;
                                             where a program that is a plugin is
```
"""

# The extra is large: whoever asks for one name pays for that alone.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pluginhost.goplugin.blocking import GoPluginClient
    from pluginhost.goplugin.client import AsyncGoPluginClient
    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.goplugin.remote import dispense
    from pluginhost.goplugin.serving import serve

__all__ = ["AsyncGoPluginClient", "GoPluginClient", "HandshakeConfig", "dispense", "serve"]

_ELSEWHERE = {
    "AsyncGoPluginClient": "client",
    "GoPluginClient": "blocking",
    "HandshakeConfig": "handshake",
    "dispense": "remote",
    "serve": "serving",
}
_NEEDED = ("grpclib", "google.protobuf", "cryptography")


def require(who: str) -> None:
    """Returns if the packages are installed without which nothing here works; imports none of them.

    Args:
        who: What needs them, for the message.

    Raises:
        ConfigurationError: One of them is not.
    """
    from importlib.util import find_spec

    try:
        lacks = not all(map(find_spec, _NEEDED))
    except ModuleNotFoundError:  # not even the package that it is of
        lacks = True
    if lacks:
        from pluginhost.errors import ConfigurationError, Finding  # only who lacks one needs it

        what = f"{who} needs grpclib, protobuf and cryptography"
        raise ConfigurationError(Finding("tool-missing", what, "pip install 'pluginhost[goplugin]'"))


def __getattr__(name: str) -> object:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require(__name__)
    value: object = getattr(__import__(f"{__name__}.{_ELSEWHERE[name]}", fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
