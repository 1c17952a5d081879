"""What is decided before a plugin serves; the rest is held by tests with real processes."""

from __future__ import annotations

import os

import pytest
from pluginhost.errors import ConfigurationError
from pluginhost.goplugin import HandshakeConfig, serve
from pluginhost.goplugin.serving import _Asked

HANDSHAKE = HandshakeConfig("A_COOKIE", "is a cookie", protocol_versions=(1, 2))


def test_what_the_host_said_is_not_for_those_that_the_plugin_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "PLUGIN_PROTOCOL_VERSIONS": "3,x,2",
        "PLUGIN_CLIENT_CERT": "a certificate",
        "PLUGIN_MULTIPLEX_GRPC": "true",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_UNIX_SOCKET_DIR": "/somewhere",
        "PLUGIN_UNIX_SOCKET_GROUP": "staff",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLUGIN_HOME", "the plugin's own")
    assert _Asked.take() == ((3, 2), "a certificate", True, "/somewhere", "staff", (10_000, 25_000))
    assert not set(said) & set(os.environ)
    assert os.environ["PLUGIN_HOME"] == "the plugin's own"
    assert _Asked.take() == ((), "", False, "", "", (0, 0))


def test_ports_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGIN_MIN_PORT", "-1")
    with pytest.raises(ConfigurationError, match="the ports '-1' to ''"):
        _Asked.take()


def test_each_version_is_one_of_the_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_COOKIE", "is a cookie")
    with pytest.raises(ConfigurationError, match="protocol version 3, which the handshake does not have"):
        serve([], HANDSHAKE, versions={1: [], 3: []})


def test_without_the_cookie_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("A_COOKIE", raising=False)
    monkeypatch.setattr("sys.argv", ["/bin/\x1b[31mgreeter"])
    with pytest.raises(SystemExit) as caught:
        serve([], HANDSHAKE)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("\\x1b[31mgreeter is a plugin, and not meant to be executed directly.\n")
