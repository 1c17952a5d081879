"""AutoMTLS between two ends in one process, over buffers: who is let in, and who is not."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pluginhost.errors import GoPluginError
from pluginhost.goplugin import certificates
from pluginhost.goplugin.certificates import Certificate, client_context, server_context


class End:
    """One side of a connection, without a socket."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.came, self.goes, server_side=server_name is None, server_hostname=server_name)

    def step(self, other: End) -> bool:
        """Goes on, and returns whether this side is content."""
        try:
            self.tls.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            is_done = False
        other.came.write(self.goes.read())
        return is_done


def connect(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> tuple[End, End]:
    ends = End(client, name), End(server, None)
    while not all([ends[0].step(ends[1]), ends[1].step(ends[0])]):
        pass
    return ends


def test_two_that_know_each_other_connect() -> None:
    host, plugin = Certificate.make(), Certificate.make()
    client, server = connect(client_context(host, plugin.der), server_context(plugin, host.pem))
    assert client.tls.selected_alpn_protocol() == "h2"
    assert server.tls.getpeercert(binary_form=True) == host.der
    assert client.tls.getpeercert(binary_form=True) == plugin.der


def test_a_certificate_of_p_521_as_go_makes_them_is_taken() -> None:
    def p_521(given: x509.CertificateBuilder) -> Certificate:
        key = ec.generate_private_key(ec.SECP521R1())
        pem = given.public_key(key.public_key()).sign(key, hashes.SHA512())
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        both = pem.public_bytes(Encoding.PEM)
        return Certificate(pem.public_bytes(Encoding.DER), both.decode(), both + secret)

    ours = x509.load_der_x509_certificate(Certificate.make().der)
    builder = x509.CertificateBuilder(
        ours.issuer, ours.subject, None, 7, ours.not_valid_before_utc, ours.not_valid_after_utc
    )
    for extension in ours.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    host, plugin = Certificate.make(), p_521(builder)
    connect(client_context(host, plugin.der), server_context(plugin, host.pem))
    connect(client_context(plugin, host.der), server_context(host, plugin.pem))


def test_a_stranger_is_not_let_in() -> None:
    host, plugin, stranger = (Certificate.make() for _ in range(3))
    with pytest.raises(ssl.SSLError):
        connect(client_context(stranger, plugin.der), server_context(plugin, host.pem))
    with pytest.raises(ssl.SSLError):
        connect(client_context(host, plugin.der), server_context(stranger, host.pem))


def test_who_shows_no_certificate_is_not_let_in() -> None:
    host, plugin = Certificate.make(), Certificate.make()
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(cadata=plugin.der)
    with pytest.raises(ssl.SSLError):
        connect(bare, server_context(plugin, host.pem))


def test_another_name_and_an_old_version_of_tls_are_refused() -> None:
    host, plugin = Certificate.make(), Certificate.make()
    with pytest.raises(ssl.SSLError):
        connect(client_context(host, plugin.der), server_context(plugin, host.pem), "example.com")
    assert client_context(host, plugin.der).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_is_refused_with_a_code(der: bytes) -> None:
    own = Certificate.make()
    with pytest.raises(GoPluginError) as caught:
        client_context(own, der)
    assert caught.value.finding.code == "certificate-wrong"
    with pytest.raises(GoPluginError):
        server_context(own, "-----BEGIN CERTIFICATE-----\nx")


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_no_key_and_no_descriptor_is_left(
    has_memory_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    own = Certificate.make()
    before = sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []
    context = server_context(own, Certificate.make().pem)
    after = sorted(os.listdir("/proc/self/fd")) if before else []
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not list(tmp_path.iterdir())
    assert len(before) == len(after)


def test_a_key_in_a_folder_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with certificates._as_file(b"key") as path:
        assert Path(path).read_bytes() == b"key"
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


def test_a_key_does_not_show() -> None:
    own = Certificate.make()
    assert "PRIVATE" not in repr(own)
    assert b"PRIVATE" in own.secret
    assert "PRIVATE" not in own.pem
