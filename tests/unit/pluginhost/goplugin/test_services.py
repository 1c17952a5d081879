"""The fixed services say what go-plugin's do, byte for byte, beside whatever the application has of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from goplugin.ends import connected
from grpclib.exceptions import GRPCError
from pluginhost.goplugin import services
from pluginhost.goplugin.services import (
    CHECK,
    WATCH,
    ConnInfo,
    HealthCheckRequest,
    HealthCheckResponse,
    Method,
    StdioData,
)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (StdioData(channel=StdioData.STDOUT, data=b"hi"), b"\x08\x01\x12\x02hi"),
        (StdioData(channel=StdioData.STDERR), b"\x08\x02"),
        (ConnInfo(service_id=300, network="tcp", address="a:1"), b"\x08\xac\x02\x12\x03tcp\x1a\x03a:1"),
        (
            ConnInfo(service_id=1, knock=ConnInfo.Knock(knock=True, ack=True, error="no")),
            b"\x08\x01\x22\x08\x08\x01\x10\x01\x1a\x02no",
        ),
        (services.Empty(), b""),
        (HealthCheckRequest(service="plugin"), b"\x0a\x06plugin"),
        (HealthCheckResponse(status="SERVING"), b"\x08\x01"),
    ],
)
def test_messages_are_written_as_in_go(message: Any, written: bytes) -> None:
    assert message.SerializeToString() == written
    assert type(message).FromString(written) == message


def test_the_application_may_have_code_made_from_the_same_files() -> None:
    """Protoc's puts its messages into a pool of everybody's, where a name must mean one thing."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    for package, message in (("plugin", "Empty"), ("plugin", "ConnInfo"), ("grpc.health.v1", "HealthCheckRequest")):
        file = descriptor_pb2.FileDescriptorProto(name=f"theirs/{message}.proto", package=package, syntax="proto3")
        file.message_type.add(name=message)
        assert descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


def test_a_plugins_health_is_told_and_nobody_elses() -> None:
    async def ask() -> None:
        async with connected(services.health()) as channel:
            assert await services.is_serving(channel)
            with pytest.raises(GRPCError, match="NOT_FOUND"):
                await CHECK.call(channel, HealthCheckRequest(service="other"))
            async with WATCH.open(channel) as stream:
                await stream.send_message(HealthCheckRequest(service="plugin"))
                assert (await stream.recv_message()).status == HealthCheckResponse.SERVING
                await stream.cancel()

    asyncio.run(ask())


def test_a_call_that_is_answered_by_nothing_fails() -> None:
    async def say_nothing(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata()
        await stream.cancel()

    async def ask() -> None:
        method = Method("/a.B/C", services.SHUTDOWN.cardinality, services.Empty, services.Empty)
        async with connected(services.Served({method: say_nothing})) as channel:
            with pytest.raises(Exception, match=r"reset|nothing"):
                await method.call(channel, services.Empty(), timeout=60)

    asyncio.run(ask())
