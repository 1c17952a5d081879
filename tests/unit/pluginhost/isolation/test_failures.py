from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import errors
from pluginhost.errors import Finding, PluginCallError, PluginHostError, PluginsFailed
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import CALLS, FAILED, META_LIMIT, Frame

from pluginapi import PluginError


class Refused(PluginError):
    """Is made of two things."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(what, number)


class Fussy(PluginError):
    """Is made of other things than it keeps."""

    def __init__(self, *, what: str) -> None:
        super().__init__(what)


def crossed(exc: BaseException) -> Failure:
    message = Failure.of(exc).pack()
    assert message.flags == FAILED
    assert len(message.meta) < META_LIMIT
    return Failure.unpack(Frame(CALLS, 1, message.flags, message.meta, message.body))


def raised_by(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as raised:
        return raised


def test_an_exception_arrives_as_type_message_and_traceback() -> None:
    failure = crossed(raised_by(ValueError("not ü", 3)))
    assert (failure.module, failure.type, failure.message) == ("builtins", "ValueError", "ValueError: ('not ü', 3)")
    assert "in raised_by" in failure.traceback
    assert failure.arguments == ["not ü", 3]


def test_an_error_of_the_apis_arrives_as_itself() -> None:
    exc = crossed(Refused("no", 2)).revived([Refused, Fussy])
    assert type(exc) is Refused
    assert exc.args == ("no", 2)
    assert crossed(Fussy(what="x")).revived([Refused, Fussy]) is None
    assert crossed(ValueError()).revived([Refused, Fussy]) is None
    assert crossed(Refused(object(), 2)).revived([Refused]) is None  # type: ignore[arg-type]


def test_what_the_hosts_own_code_says_keeps_its_code() -> None:
    failure = crossed(PluginCallError(Finding("arguments-wrong", "too few", "give more")))
    assert (failure.code, failure.message, failure.traceback) == ("arguments-wrong", "too few", "")


class Hostile(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(1)


EXCEPTIONS: list[Callable[[], BaseException]] = [
    lambda: Hostile("x"),
    lambda: ValueError("\ud800" * 40_000),
    lambda: ValueError("ü" * 10_000, "x" * 10**7),
    lambda: ValueError(*["\ud800" * 100] * 25),
    lambda: ValueError(10**10_000),
    lambda: ValueError(2**64, -(2**70)),
    lambda: ValueError(float("nan")),
    lambda: type("x" * 100_000, (Exception,), {"__module__": 3})("y"),
    lambda: ExceptionGroup("many", [ValueError(str(number)) for number in range(5000)]),
    lambda: RecursionError(),
]


@pytest.mark.parametrize("make", EXCEPTIONS)
def test_whatever_is_raised_crosses(make: Callable[[], BaseException]) -> None:
    try:
        raise make()
    except BaseException as exc:
        failure = crossed(exc)
    assert failure.type
    assert failure.traceback


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())))
def test_whatever_an_exception_is_made_of_crosses(arguments: list[object]) -> None:
    crossed(ValueError(*arguments))


def test_what_is_no_failure_is_malformed() -> None:
    for meta in (b"", b"\xc0", b"\x91\x01", b"\x91" * 100_000, b"\x92\xa1\xff\xa1a"):
        with pytest.raises(PluginCallError) as raised:
            Failure.unpack(Frame(CALLS, 1, FAILED, meta, b""))
        assert raised.value.finding.code == "frame-malformed"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PluginHostError)],
)
def test_an_error_of_the_hosts_is_made_anew_of_its_own_class(kind: type[PluginHostError]) -> None:
    finding = Finding("plugin-unknown", "there is none", "see the list")
    made = PluginsFailed({"one": PluginHostError(finding)}) if kind is PluginsFailed else kind(finding)
    again = crossed(made).host_error()
    assert type(again) is (PluginHostError if kind is PluginsFailed else kind)  # that one has errors, which stay behind
    assert again.finding == finding


def test_a_failed_call_says_whose_it_was() -> None:
    finding = Finding("call-failed", "it broke", "mend it")
    again = crossed(PluginCallError(finding, plugin="english", version="1.2", method="greet")).host_error()
    assert isinstance(again, PluginCallError)
    assert (again.plugin, again.version, again.method) == ("english", "1.2", "greet")
    made = PluginCallError(finding, plugin="\ud800" * 2000)
    made.version, made.method = 7, None  # type: ignore[assignment]
    again = crossed(made).host_error()
    assert isinstance(again, PluginCallError)
    assert (len(again.plugin), again.version, again.method) == (1000, "", "")


def test_an_error_of_a_name_that_is_none_of_the_hosts_is_the_base_of_all() -> None:
    for name in ("Finding", "RemoteFailure", "describe", "__doc__", ""):
        assert type(Failure("", "", "m", code="call-failed", error=name).host_error()) is PluginHostError
