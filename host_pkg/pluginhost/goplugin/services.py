"""The fixed services of go-plugin, as the two sides call and answer them.

Their messages are made here, from descriptors, in a pool of their own: the application may have code that protoc made
from the same `.proto` files, and the pool that everybody shares takes each name once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.empty_pb2 import Empty as Nothing
from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Final, Protocol, TypeAlias

    from google.protobuf.descriptor_pb2 import DescriptorProto
    from grpclib import client, server

    Answer: TypeAlias = Callable[[server.Stream[Any, Any]], Awaitable[None]]

    class Service(Protocol):
        """What a grpclib server serves: an instance of a generated base class, for instance."""

        def __mapping__(self) -> Mapping[str, Handler]: ...


def _made() -> DescriptorPool:
    field = FieldDescriptorProto
    plugin = FileDescriptorProto(name="pluginhost/goplugin.proto", package="plugin", syntax="proto3")
    plugin.message_type.add(name="Empty")
    data = plugin.message_type.add(name="StdioData")
    channels = data.enum_type.add(name="Channel")
    for number, name in enumerate(("INVALID", "STDOUT", "STDERR")):
        channels.value.add(name=name, number=number)
    _add(data, "channel", 1, field.TYPE_ENUM, ".plugin.StdioData.Channel")
    _add(data, "data", 2, field.TYPE_BYTES)
    info = plugin.message_type.add(name="ConnInfo")
    _add(info, "service_id", 1, field.TYPE_UINT32)
    _add(info, "network", 2, field.TYPE_STRING)
    _add(info, "address", 3, field.TYPE_STRING)
    _add(info, "knock", 4, field.TYPE_MESSAGE, ".plugin.ConnInfo.Knock")
    knock = info.nested_type.add(name="Knock")
    _add(knock, "knock", 1, field.TYPE_BOOL)
    _add(knock, "ack", 2, field.TYPE_BOOL)
    _add(knock, "error", 3, field.TYPE_STRING)

    health = FileDescriptorProto(name="pluginhost/health.proto", package="grpc.health.v1", syntax="proto3")
    _add(health.message_type.add(name="HealthCheckRequest"), "service", 1, field.TYPE_STRING)
    response = health.message_type.add(name="HealthCheckResponse")
    states = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        states.value.add(name=name, number=number)
    _add(response, "status", 1, field.TYPE_ENUM, ".grpc.health.v1.HealthCheckResponse.ServingStatus")

    pool = DescriptorPool()
    for file in (plugin, health):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add(
    message: DescriptorProto, name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, of: str = ""
) -> None:
    message.field.add(
        name=name, number=number, type=kind, type_name=of or None, label=FieldDescriptorProto.LABEL_OPTIONAL
    )


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(name))


_POOL: Final = _made()
Empty: Final = _message("plugin.Empty")
StdioData: Final = _message("plugin.StdioData")
ConnInfo: Final = _message("plugin.ConnInfo")
HealthCheckRequest: Final = _message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse: Final = _message("grpc.health.v1.HealthCheckResponse")

PLUGIN: Final = "plugin"
"""The name by which a plugin's health is asked for."""


class Method(NamedTuple):
    """A method of one of the services.

    Attributes:
        path: `/package.Service/Method`.
        cardinality: Which sides send a stream.
        request: The class of what is asked.
        reply: The class of what is answered.
    """

    path: str
    cardinality: Cardinality
    request: type[Any]
    reply: type[Any]

    def open(self, channel: client.Channel, timeout: float | None = None) -> client.Stream[Any, Any]:
        """Returns a call of the method that has not begun: an asynchronous context manager.

        Args:
            channel: Where the other side is.
            timeout: Seconds that the whole call may take.
        """
        return channel.request(self.path, self.cardinality, self.request, self.reply, timeout=timeout)

    async def call(self, channel: client.Channel, request: object, timeout: float | None = None) -> Any:
        """Returns the reply to one request.

        Raises:
            GRPCError: The other side refused, or sent none.
        """
        async with self.open(channel, timeout) as stream:
            await stream.send_message(request, end=True)
            reply = await stream.recv_message()
        if reply is None:
            raise GRPCError(Status.UNKNOWN, f"{self.path} was answered by nothing")
        return reply


SHUTDOWN: Final = Method("/plugin.GRPCController/Shutdown", Cardinality.UNARY_UNARY, Empty, Empty)
STREAM_STDIO: Final = Method("/plugin.GRPCStdio/StreamStdio", Cardinality.UNARY_STREAM, Nothing, StdioData)
START_STREAM: Final = Method("/plugin.GRPCBroker/StartStream", Cardinality.STREAM_STREAM, ConnInfo, ConnInfo)
CHECK: Final = Method("/grpc.health.v1.Health/Check", Cardinality.UNARY_UNARY, HealthCheckRequest, HealthCheckResponse)
WATCH: Final = Method("/grpc.health.v1.Health/Watch", Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse)


class Served:
    """Methods and what answers each, as a grpclib server takes them."""

    def __init__(self, answers: Mapping[Method, Answer]) -> None:
        self._handlers = {
            method.path: Handler(answer, method.cardinality, method.request, method.reply)
            for method, answer in answers.items()
        }

    def __mapping__(self) -> Mapping[str, Handler]:
        return self._handlers


def health() -> Served:
    """Returns the service which says that the plugin serves, as long as it is answered at all."""
    return Served({CHECK: _check, WATCH: _watch})


async def is_serving(channel: client.Channel, timeout: float | None = None) -> bool:
    """Returns whether a plugin says that it serves.

    Args:
        channel: Where it is.
        timeout: Seconds that it may take to say so.

    Raises:
        GRPCError: It does not answer that.
        OSError: It is not there.
    """
    reply = await CHECK.call(channel, HealthCheckRequest(service=PLUGIN), timeout)
    return bool(reply.status == HealthCheckResponse.SERVING)


async def _check(stream: server.Stream[Any, Any]) -> None:
    if await _is_known(stream):
        await stream.send_message(HealthCheckResponse(status=HealthCheckResponse.SERVING))
    else:
        raise GRPCError(Status.NOT_FOUND, "unknown service")


async def _watch(stream: server.Stream[Any, Any]) -> None:
    status = "SERVING" if await _is_known(stream) else "SERVICE_UNKNOWN"
    await stream.send_message(HealthCheckResponse(status=status))
    await asyncio.Event().wait()  # it does not change until the connection ends


async def _is_known(stream: server.Stream[Any, Any]) -> bool:
    request = await stream.recv_message()
    return request is not None and request.service in ("", PLUGIN)
