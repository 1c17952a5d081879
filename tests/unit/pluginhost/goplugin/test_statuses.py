from __future__ import annotations

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pluginhost.errors import Finding, PluginCallError, RemoteFailure
from pluginhost.goplugin.statuses import failure_of, status_of

from pluginapi import PluginError


class Own(PluginError):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.why = why

    def __str__(self) -> str:
        return self.why


class Broken(PluginError):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("exc", "status", "message"),
    [
        (PluginError("division by zero"), Status.INVALID_ARGUMENT, "division by zero"),
        (Own(1, "not this one"), Status.INVALID_ARGUMENT, "not this one"),
        (Broken(), Status.INVALID_ARGUMENT, "<its message raised RuntimeError>"),
        (ValueError("x"), Status.UNKNOWN, "ValueError: x"),
        (SystemExit(3), Status.UNKNOWN, "SystemExit: 3"),
        (NotImplementedError(), Status.UNIMPLEMENTED, "NotImplementedError"),
        (PluginCallError(Finding("reply-wrong", "a", "b")), Status.INTERNAL, "[reply-wrong] a"),
    ],
    ids=repr,
)
def test_what_was_raised_has_a_status(exc: BaseException, status: Status, message: str) -> None:
    told = status_of(exc)
    assert (told.status, told.message) == (status, message)


def test_a_plugins_word_to_its_caller_arrives_as_it_was_said() -> None:
    back = failure_of(status_of(Own(1, "ne peut pas être")))
    assert type(back) is PluginError
    assert str(back) == "ne peut pas être"


def test_a_message_without_end_is_cut() -> None:
    told = status_of(PluginError("\ud800" + "x" * 1_000_000)).message
    assert told is not None
    assert len(told.encode()) <= 4096


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.UNKNOWN, "call-failed"),
        (Status.INTERNAL, "call-failed"),
        (Status.UNIMPLEMENTED, "method-missing"),
        (Status.UNAVAILABLE, "channel-lost"),
        (Status.DEADLINE_EXCEEDED, "call-timeout"),
    ],
)
def test_any_other_status_is_a_failure_with_a_code(status: Status, code: str) -> None:
    failure = failure_of(GRPCError(status, "why"))
    assert isinstance(failure, RemoteFailure)
    assert (failure.code, failure.what) == (code, f"was answered with {status.name}: why")
