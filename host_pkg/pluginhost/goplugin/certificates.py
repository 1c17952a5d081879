"""AutoMTLS: both sides make a certificate for one connection, and trust nothing but the other's.

The host's goes to the plugin in its environment, the plugin's to the host in the line of the handshake; the keys stay
in memory. Go makes its own with P-521, which OpenSSL takes and BoringSSL, and so grpcio, does not. What is in ours is
what `mtls.go` of go-plugin puts into its own, but for the curve: a key of P-256 is made in a third of the time.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pluginhost.errors import Finding, GoPluginError, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

NAME: Final = "localhost"
"""Whom each certificate is for, wherever its owner listens."""
_EARLIER: Final = datetime.timedelta(seconds=30)
_LATER: Final = datetime.timedelta(hours=262_980)


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A certificate and its key.

    Attributes:
        der: The certificate alone, for the line of the handshake.
        pem: The same, for the environment.
        secret: The certificate and its key, as PEM.
    """

    der: bytes
    pem: str
    secret: bytes

    @classmethod
    def make(cls) -> Certificate:
        """Returns a new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pluginhost"),
                x509.NameAttribute(NameOID.COMMON_NAME, NAME),
            ]
        )
        usage = x509.KeyUsage(
            digital_signature=True, key_encipherment=True, key_agreement=True, key_cert_sign=True,
            content_commitment=False, data_encipherment=False, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + _LATER)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(usage, critical=True)
            .add_extension(both, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = made.public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(made.public_bytes(Encoding.DER), pem.decode(), pem + secret)


def client_context(own: Certificate, peer_der: bytes) -> ssl.SSLContext:
    """Returns what the side that connects needs to know for TLS.

    Args:
        own: What it shows.
        peer_der: The only certificate that it trusts.

    Raises:
        GoPluginError: That is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks name and certificate
    return _mutual(context, own, peer_der)


def server_context(own: Certificate, peer_pem: str) -> ssl.SSLContext:
    """Returns what the side that listens needs to know for TLS.

    Args:
        own: What it shows.
        peer_pem: The only certificate that it trusts; whoever connects must show it.

    Raises:
        GoPluginError: That is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _mutual(context, own, peer_pem)


def _mutual(context: ssl.SSLContext, own: Certificate, peer: str | bytes) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=peer)
    except (ssl.SSLError, ValueError, TypeError) as exc:
        hint = "both sides do AutoMTLS, or neither; an inherited PLUGIN_CLIENT_CERT is to be removed"
        what = f"the other side's certificate cannot be read ({describe(exc)})"
        raise GoPluginError(Finding("certificate-wrong", what, hint)) from exc
    with _as_file(own.secret) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _as_file(secret: bytes) -> Iterator[str]:
    """Has a key in a file, since `ssl` reads nothing else: one without a name where the system has such."""
    with contextlib.ExitStack() as undo:
        try:
            fd = os.memfd_create("certificate")
            undo.callback(os.close, fd)
            path = f"/proc/self/fd/{fd}"
            os.stat(path)
        except (AttributeError, OSError):  # not Linux, or a sandbox
            path = os.path.join(undo.enter_context(tempfile.TemporaryDirectory(prefix="pluginhost-")), "key")
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            undo.callback(os.close, fd)
        os.write(fd, secret)
        yield path
