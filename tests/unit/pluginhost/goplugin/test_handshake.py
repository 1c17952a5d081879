"""What a go-plugin host and its plugin tell each other first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost.errors import ConfigurationError, GoPluginError
from pluginhost.goplugin.handshake import HandshakeConfig, Line, chosen_version, environment, offered_versions

COOKIE = HandshakeConfig("GREETER_PLUGIN", "hello")
versions = st.integers(0, 2**31 - 1)
names = st.text(st.characters(exclude_characters="|\0", exclude_categories=["Cs", "Cc", "Z"]), max_size=20)
addresses = st.tuples(st.just("unix"), names.map("/{}".format)) | st.tuples(
    st.just("tcp"), st.builds("{}:{}".format, st.sampled_from(["127.0.0.1", "[::1]"]), st.integers(1, 65535))
)
lines = st.builds(
    lambda version, address, certificate, multiplexed: Line(version, address[0], address[1], certificate, multiplexed),
    versions,
    addresses,
    st.binary(max_size=80),
    st.none() | st.booleans(),
)


@given(lines)
def test_a_line_is_read_as_it_was_written(line: Line) -> None:
    text = str(line)
    assert Line.parse(f"{text}\n") == line
    assert text.count("|") == (5 if line.multiplexed is None else 6)
    assert "=" not in text or "=" in line.address


@given(st.text() | st.lists(st.sampled_from(["1", "2", "tcp", "unix", "grpc", "netrpc", "a:1", "", "x"])).map("|".join))
def test_any_other_text_is_refused_with_a_code(text: str) -> None:
    refused = ""
    try:
        Line.parse(text)
    except GoPluginError as exc:
        refused = exc.finding.stage if exc.finding.hint else "without a hint"
    assert refused in ("", "goplugin")


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "handshake-malformed", "no line"),
        ("hello, world", "handshake-malformed", "'hello, world'"),
        ("\x1b[2J|1|tcp", "handshake-malformed", "\\x1b"),
        ("x" * 100_000, "handshake-malformed", "100,000 characters"),
        ("2|1|unix|/tmp/a|grpc|", "protocol-unsupported", "version 2"),
        ("1|1|unix|/tmp/a", "protocol-unsupported", "net/rpc"),
        ("1|1|unix|/tmp/a|netrpc|", "protocol-unsupported", "net/rpc"),
        ("1|1|unix|/tmp/a|smoke|", "protocol-unsupported", "smoke"),
        ("1|-1|unix|/tmp/a|grpc|", "handshake-malformed", "version"),
        ("1|99999999999|unix|/tmp/a|grpc|", "handshake-malformed", "version"),
        ("1|1|udp|127.0.0.1:1|grpc|", "handshake-malformed", "address"),
        ("1|1|unix||grpc|", "handshake-malformed", "address"),
        (f"1|1|unix|/{'a' * 107}|grpc|", "handshake-malformed", "address"),
        ("1|1|unix|tmp/a|grpc|", "handshake-malformed", "address"),
        ("1|1|unix|@abstract|grpc|", "handshake-malformed", "address"),
        ("1|1|tcp|192.0.2.1:80|grpc|", "handshake-malformed", "address of this machine"),
        ("1|1|tcp|0.0.0.0:80|grpc|", "handshake-malformed", "address of this machine"),
        ("1|1|tcp|example.com:80|grpc|", "handshake-malformed", "address of this machine"),
        ("1|1|tcp|127.0.0.1|grpc|", "handshake-malformed", "address"),
        ("1|1|tcp|127.0.0.1:0|grpc|", "handshake-malformed", "address"),
        ("1|1|tcp|:80|grpc|", "handshake-malformed", "address"),
        ("1|1|unix|/tmp/a|grpc|*", "certificate-wrong", "cannot be read"),
        ("1|1|unix|/tmp/a|grpc|YQ==", "certificate-wrong", "cannot be read"),
        ("1|1|unix|/tmp/a|grpc||perhaps", "handshake-malformed", "seventh"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, code: str, says: str) -> None:
    with pytest.raises(GoPluginError) as caught:
        Line.parse(text)
    assert caught.value.finding.code == code
    assert says in caught.value.finding.message


def test_what_go_writes_is_read() -> None:
    line = Line.parse("1|5|tcp|127.0.0.1:1234|grpc|YWI|true\n")
    assert line == Line(5, "tcp", "127.0.0.1:1234", b"ab", multiplexed=True)
    assert line.endpoint == ("127.0.0.1", 1234)
    assert Line.parse("1|5|tcp|[::1]:1234|grpc").endpoint == ("::1", 1234)


def test_a_version_is_one_of_the_hosts() -> None:
    line = Line(6, "unix", "/tmp/a")
    line.require_version(HandshakeConfig("K", "v", protocol_versions=(5, 6)))
    with pytest.raises(GoPluginError, match="takes 1") as caught:
        line.require_version(COOKIE)
    assert caught.value.finding.code == "version-unsupported"


def test_a_certificate_is_there_if_and_only_if_it_is_wanted() -> None:
    bare, sealed = Line(1, "unix", "/tmp/a"), Line(1, "unix", "/tmp/a", b"x")
    bare.require_certificate(is_wanted=False)
    sealed.require_certificate(is_wanted=True)
    for line in (bare, sealed):
        with pytest.raises(GoPluginError) as caught:
            line.require_certificate(is_wanted=line is bare)
        assert caught.value.finding.code == "certificate-wrong"


@given(st.lists(versions, min_size=1), st.lists(versions))
def test_the_highest_version_that_both_have_is_chosen(own: list[int], offered: list[int]) -> None:
    chosen = chosen_version(own, offered)
    both = set(own) & set(offered)
    assert chosen == (max(both) if both else min(own))


def test_a_list_of_versions_is_read_as_far_as_it_is_one() -> None:
    assert offered_versions("6,x,5,,-1, 4,99999999999") == (6, 5)
    assert offered_versions("") == ()


def test_the_environment_has_what_the_plugin_needs_and_nothing_of_another_one() -> None:
    inherited = {"PATH": "/bin", "PLUGIN_CLIENT_CERT": "x", "PLUGIN_MULTIPLEX_GRPC": "true", "PLUGIN_NEW": "1"}
    config = HandshakeConfig("PLUGIN_COOKIE", "v=1", protocol_versions=(5, 6, 5))
    assert environment(config, inherited=inherited) == {
        "PATH": "/bin",
        "PLUGIN_COOKIE": "v=1",
        "PLUGIN_PROTOCOL_VERSIONS": "6,5",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
    }
    asked = environment(config, "PEM", 1, 2, socket_folder="/run/x", multiplexed=True, inherited={})
    assert asked["PLUGIN_CLIENT_CERT"] == "PEM"
    assert (asked["PLUGIN_MIN_PORT"], asked["PLUGIN_MAX_PORT"]) == ("1", "2")
    assert asked["PLUGIN_UNIX_SOCKET_DIR"] == "/run/x"
    assert asked["PLUGIN_MULTIPLEX_GRPC"] == "true"


@pytest.mark.parametrize(
    "wrong",
    [{"cookie_key": ""}, {"cookie_key": "A=B"}, {"cookie_value": "\0"}, {"protocol_version": -1}, {"protocol_versions": ("5",)}],
)  # fmt: skip
def test_an_impossible_agreement_is_refused(wrong: dict[str, str]) -> None:
    given: dict[str, str] = {"cookie_key": "K", "cookie_value": "v", **wrong}
    with pytest.raises(ConfigurationError):
        HandshakeConfig(**given)  # type: ignore[arg-type]
