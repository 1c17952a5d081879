"""What a go-plugin host and its plugin tell each other first: variables one way, one line of text the other.

The host starts the plugin with a cookie, which shows that it was not a person who did, and with the versions that it
takes. The plugin listens, and writes to standard output where: `1|VERSION|NETWORK|ADDRESS|grpc|CERTIFICATE`. Whoever
wants to know more reads `client.go` and `server.go` of https://github.com/hashicorp/go-plugin; this is the part of
them that has no socket.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pluginhost.errors import Finding, GoPluginError, escape, wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Final, Literal, TypeAlias

    Network: TypeAlias = Literal["unix", "tcp"]

CORE_VERSION: Final = 1
"""The version of go-plugin's handshake; there has been no other."""
MIN_PORT: Final = 10_000
MAX_PORT: Final = 25_000
"""The ports among which a plugin chooses that listens on TCP, as go-plugin's own hosts say."""

VERSIONS: Final = "PLUGIN_PROTOCOL_VERSIONS"
CLIENT_CERTIFICATE: Final = "PLUGIN_CLIENT_CERT"
MULTIPLEX: Final = "PLUGIN_MULTIPLEX_GRPC"
LEAST_PORT: Final = "PLUGIN_MIN_PORT"
GREATEST_PORT: Final = "PLUGIN_MAX_PORT"
SOCKET_FOLDER: Final = "PLUGIN_UNIX_SOCKET_DIR"
SOCKET_GROUP: Final = "PLUGIN_UNIX_SOCKET_GROUP"

_LARGEST_VERSION: Final = 2**31 - 1
_LONGEST_PATH: Final = 107
"""Bytes of a socket's path, which the system takes."""
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class HandshakeConfig:
    """What a host and its plugins have agreed upon.

    The cookie is no secret: it keeps a person from starting a plugin by hand, and a host from starting a program that
    is no plugin of its own.

    Attributes:
        cookie_key: The name of the variable that the host sets.
        cookie_value: Its value.
        protocol_version: The version of the services that the application defines, where there is only one.
        protocol_versions: All the versions that this side has, where it has several; the other field is not used then.

    Raises:
        ConfigurationError: One of them is not possible.
    """

    cookie_key: str
    cookie_value: str
    protocol_version: int = 1
    protocol_versions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, text in (("cookie_key", self.cookie_key), ("cookie_value", self.cookie_value)):
            if not text or "\0" in text or (name == "cookie_key" and "=" in text):
                what = f"{name} {text!r} cannot be in an environment"
                raise wrong(what, "write the key and the value that both sides agreed upon, such as those in Go")
        for version in self.versions:
            if type(version) is not int or not 0 <= version <= _LARGEST_VERSION:
                raise wrong(f"{version!r} is no protocol version", "a version is a whole number, such as 1")

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that this side has, the highest first."""
        return tuple(sorted(set(self.protocol_versions or (self.protocol_version,)), reverse=True))


def environment(
    config: HandshakeConfig,
    client_certificate: str = "",
    min_port: int = MIN_PORT,
    max_port: int = MAX_PORT,
    *,
    socket_folder: str = "",
    multiplexed: bool = False,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Returns the environment in which a host starts a plugin.

    Of what it inherits, no variable of go-plugin's stays: this process may be a plugin itself, and what its own host
    told it is not for others. A stray certificate breaks the connection, as a stray wish for multiplexing does.

    Args:
        config: What both have agreed upon.
        client_certificate: The host's certificate, as PEM; empty for a connection in the clear.
        min_port: The least port on which the plugin may listen, where it listens on TCP.
        max_port: The greatest.
        socket_folder: Where the plugin makes its sockets, from go-plugin 1.6 on; empty for its temporary folder.
        multiplexed: Whether all connections shall go over one.
        inherited: The variables that it finds besides; the application's own when `None`.
    """
    given = os.environ if inherited is None else inherited
    variables = {name: value for name, value in given.items() if not name.upper().startswith("PLUGIN_")}
    variables[VERSIONS] = ",".join(map(str, config.versions))
    variables[LEAST_PORT], variables[GREATEST_PORT] = str(min_port), str(max_port)
    if client_certificate:
        variables[CLIENT_CERTIFICATE] = client_certificate
    if socket_folder:
        variables[SOCKET_FOLDER] = socket_folder
    if multiplexed:
        variables[MULTIPLEX] = "true"
    variables[config.cookie_key] = config.cookie_value  # last: its name may begin like theirs
    return variables


def offered_versions(text: str) -> tuple[int, ...]:
    """Returns the versions that a host lists for its plugin; what is no number is skipped."""
    return tuple(int(part) for part in text.split(",") if _is_number(part))


def chosen_version(own: Collection[int], offered: Collection[int]) -> int:
    """Returns the version that a plugin serves: its highest that the host offers, else its lowest.

    A host that does not take the lowest says so; it may be older than the list of versions, and send none.

    Args:
        own: The plugin's versions, at least one.
        offered: The host's, in any order.
    """
    return max(set(own) & set(offered), default=min(own))


@dataclass(frozen=True, slots=True)
class Line:
    """The line with which a plugin says where it can be reached; `str()` writes it.

    Attributes:
        version: The version of the services that it serves.
        network: What its address is of.
        address: A socket's path, or a host and a port.
        certificate: The plugin's certificate, as DER; empty for a connection in the clear.
        multiplexed: Whether all connections go over one; `None` when the host did not ask.
    """

    version: int
    network: Network
    address: str
    certificate: bytes = b""
    multiplexed: bool | None = None

    def __str__(self) -> str:
        certificate = base64.b64encode(self.certificate).decode().rstrip("=")
        fields = [str(CORE_VERSION), str(self.version), self.network, self.address, "grpc", certificate]
        if self.multiplexed is not None:  # older hosts want exactly six
            fields.append(str(self.multiplexed).lower())
        return "|".join(fields)

    @classmethod
    def parse(cls, text: str) -> Line:
        """Returns what a plugin's line says.

        Args:
            text: The first line of its standard output.

        Raises:
            GoPluginError: It is no such line, or says what this side does not do.
        """
        fields = text.strip().split("|")
        if len(fields) < 4 or not _is_number(fields[0]):
            raise malformed(text, "which is no line of the handshake")
        core, version, network, address, protocol, certificate, multiplexed = (fields + [""] * 3)[:7]
        if int(core) != CORE_VERSION:
            hint = f"it needs a go-plugin whose handshake has version {CORE_VERSION}"
            raise _error("protocol-unsupported", f"it speaks version {core} of go-plugin's handshake", hint)
        if not _is_number(version):
            raise malformed(text, "where the second field is no version")
        if protocol != "grpc":
            raise _unsupported(protocol or "netrpc")
        if not is_address(network, address):
            hint = f"it has to listen at a socket with a whole path of at most {_LONGEST_PATH} bytes, or at 127.0.0.1"
            raise malformed(text, "where the third and fourth field are no address of this machine", hint)
        if multiplexed and multiplexed not in _BOOLEANS:
            raise malformed(text, "where the seventh field is neither true nor false")
        return cls(
            int(version),
            "unix" if network == "unix" else "tcp",
            address,
            _decoded(certificate),
            _BOOLEANS[multiplexed] if multiplexed else None,
        )

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of an address of TCP."""
        host, _, port = self.address.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def require_version(self, config: HandshakeConfig) -> None:
        """Returns if the plugin's version is one of the host's.

        Raises:
            GoPluginError: It is none.
        """
        if self.version not in config.versions:
            ours = ", ".join(map(str, config.versions))
            what = f"it serves protocol version {self.version}, and its host takes {ours}"
            raise _error("version-unsupported", what, "upgrade the older one of the two")

    def require_certificate(self, *, is_wanted: bool) -> None:
        """Returns if the plugin has a certificate where one is wanted, and has none where not.

        Raises:
            GoPluginError: It is not so.
        """
        if is_wanted and not self.certificate:
            hint = "it does not do AutoMTLS: pass `auto_mtls=False` if you trust whoever can reach its socket"
            raise _error("certificate-wrong", "it answers without a certificate, though it was sent one", hint)
        if self.certificate and not is_wanted:
            hint = "pass `auto_mtls=True`, or have the program not ask for certificates"
            raise _error("certificate-wrong", "it answers with a certificate, and was sent none", hint)


def malformed(text: str, what: str, hint: str = "") -> GoPluginError:
    """Returns the error that a program's first line is not what it should be.

    Args:
        text: The line.
        what: What is wrong with it, as a relative clause.
        hint: What to do about it; what is mostly to be done when empty.
    """
    hint = hint or "it must be a go-plugin program, and print nothing before the handshake"
    shown = escape(text, limit=_SHOWN)
    return _error("handshake-malformed", f"it wrote {shown!r}, {what}", hint)


def _unsupported(protocol: str) -> GoPluginError:
    if protocol == "netrpc":
        hint = "its author sets `GRPCServer: plugin.DefaultGRPCServer`; net/rpc can be spoken by Go alone"
        return _error("protocol-unsupported", "it speaks net/rpc, and not gRPC", hint)
    what = f"it speaks {escape(protocol, limit=_SHOWN)!r}, and not gRPC"
    return _error("protocol-unsupported", what, "its author serves it over gRPC")


def _error(code: str, what: str, hint: str) -> GoPluginError:
    return GoPluginError(Finding(code, what, hint))


def _decoded(certificate: str) -> bytes:
    """Returns the bytes of what is written in Go's `base64.RawStdEncoding`: without the `=` at the end."""
    try:
        decoded = base64.b64decode(certificate + "=" * (-len(certificate) % 4), validate=True)
        if base64.b64encode(decoded).decode().rstrip("=") == certificate:
            return decoded
    except (binascii.Error, ValueError):
        pass
    hint = "a plugin writes its certificate as unpadded base64 of DER, or leaves the field empty"
    raise _error("certificate-wrong", "the certificate in its handshake cannot be read", hint)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LARGEST_VERSION


def is_address(network: str, address: str) -> bool:
    """Returns whether the other side can be reached there: by a socket's whole path, or a port of this machine.

    It says itself where it is. An address elsewhere would have this process talk to whomever it names.
    """
    return _IS_ADDRESS.get(network, _is_none)(address)


def _is_none(address: str) -> bool:
    return False


def _is_path(address: str) -> bool:
    try:
        return os.path.isabs(address) and len(os.fsencode(address)) <= _LONGEST_PATH and "\0" not in address
    except UnicodeEncodeError:
        return False


def _is_endpoint(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return _is_number(port) and 0 < int(port) < 1 << 16 and (host == "localhost" or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


_IS_ADDRESS: Final = {"unix": _is_path, "tcp": _is_endpoint}
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
"""What Go's `strconv.ParseBool` reads."""
