"""A plugin in Python that does what the one in Go does, `peer.Peer`; and its messages, which need no protoc.

`python peer_plugin.py [WHAT ...]` serves it; each WHAT makes it do something wrong, or otherwise.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from pluginhost.goplugin import HandshakeConfig, serve, serving, stdio
from pluginhost.goplugin.services import Method, Served

if TYPE_CHECKING:
    from grpclib.server import Stream
    from pluginhost.goplugin.broker import Broker

COOKIE = {"GREETER_PLUGIN": "f4a51ac0-96c2-4d1e-8d0e-5ee6a3b3d0d1"}
HANDSHAKE = HandshakeConfig(*next(iter(COOKIE.items())), protocol_versions=(1, 2))

_FIELDS = {
    "Empty": "",
    "Name": "string name",
    "Greeting": "string text, uint32 version",
    "Data": "bytes data",
    "Number": "uint64 number",
    "Visit": "uint32 service_id, string name",
    "Output": "string stream, uint64 bytes",
    "Record": "string level, string message",
    "Pause": "uint64 milliseconds",
    "Failure": "uint32 code, string message",
    "End": "int32 exit_code, string panic",
}
"""The messages of peer.proto; of a record, its fields are left out."""


def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="peer.proto", package="peer", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, each in enumerate(filter(None, fields.split(", ")), 1):
            kind, _, label = each.partition(" ")
            message.field.add(name=label, number=number, type=f"TYPE_{kind.upper()}", label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"peer.{name}")) for name in _FIELDS}


MESSAGES = _messages()
Empty, Greeting, Data, Number = (MESSAGES[name] for name in ("Empty", "Greeting", "Data", "Number"))


def method(name: str, request: str, reply: str, cardinality: Cardinality = Cardinality.UNARY_UNARY) -> Method:
    return Method(f"/peer.{name}", cardinality, MESSAGES[request], MESSAGES[reply])


GREET = method("Peer/Greet", "Name", "Greeting")
ECHO = method("Peer/Echo", "Data", "Data")
COUNT = method("Peer/Count", "Number", "Number", Cardinality.UNARY_STREAM)
MEASURE = method("Peer/Measure", "Data", "Number", Cardinality.STREAM_UNARY)
CHAT = method("Peer/Chat", "Data", "Data", Cardinality.STREAM_STREAM)
CALL_BACK = method("Peer/CallBack", "Visit", "Greeting")
OPEN = method("Peer/Open", "Empty", "Number")
PRINT = method("Peer/Print", "Output", "Empty")
LOG = method("Peer/Log", "Record", "Empty")
SLEEP = method("Peer/Sleep", "Pause", "Empty")
FAIL = method("Peer/Fail", "Failure", "Empty")
CRASH = method("Peer/Crash", "End", "Empty")
ASIDE = method("Aside/Greet", "Name", "Greeting")


class Peer:
    """The service.

    Attributes:
        version: The protocol version for which it is served.
    """

    def __init__(self, broker: Broker, version: int) -> None:
        self.broker, self.version = broker, version

    def __mapping__(self) -> Any:
        streams = {COUNT: self.count, CHAT: self.chat, MEASURE: self.measure}
        calls = {
            GREET: self.greet, ECHO: self.echo, CALL_BACK: self.call_back, OPEN: self.open, PRINT: self.print,
            LOG: self.log, SLEEP: self.sleep, FAIL: self.fail, CRASH: self.crash,
        }  # fmt: skip
        return Served(streams | {each: _answered(function) for each, function in calls.items()}).__mapping__()

    async def greet(self, asked: Any) -> Any:
        if "hangs" in sys.argv:
            time.sleep(3_600)
        return Greeting(text=f"Hello, {asked.name}!", version=self.version)

    async def echo(self, asked: Any) -> Any:
        return Data(data=asked.data)

    async def count(self, stream: Stream[Any, Any]) -> None:
        asked = await stream.recv_message()
        for number in range(asked.number):
            await stream.send_message(Number(number=number))

    async def measure(self, stream: Stream[Any, Any]) -> None:
        await stream.send_message(Number(number=sum([len(each.data) async for each in stream])))

    async def chat(self, stream: Stream[Any, Any]) -> None:
        async for each in stream:
            await stream.send_message(each)

    async def call_back(self, asked: Any) -> Any:
        channel = await self.broker.dial(asked.service_id)
        try:
            return await ASIDE.call(channel, MESSAGES["Name"](name=asked.name))
        finally:
            channel.close()

    async def open(self, asked: Any) -> Any:
        service_id = self.broker.next_id()
        await self.broker.serve(service_id, [aside("Welcome, {}!")])
        return Number(number=service_id)

    async def print(self, asked: Any) -> Any:
        """Prints, in the loop's own thread, numbered lines of 64 bytes."""
        if asked.stream == "native":
            ctypes.CDLL(None).puts(b"from C")
            ctypes.CDLL(None).fflush(None)
            subprocess.run(["echo", "from a program"], check=True)
        else:
            for number in range(asked.bytes // 64):
                print(f"{number:063}", file=getattr(sys, asked.stream))
        return Empty()

    async def log(self, asked: Any) -> Any:
        logging.getLogger("greeter").log(getattr(logging, asked.level.upper()), asked.message)
        return Empty()

    async def sleep(self, asked: Any) -> Any:
        await asyncio.sleep(asked.milliseconds / 1_000)
        return Empty()

    async def fail(self, asked: Any) -> Any:
        raise GRPCError(Status(asked.code), asked.message)

    async def crash(self, asked: Any) -> Any:
        if asked.panic:
            ctypes.string_at(0)
        os._exit(asked.exit_code)


def aside(text: str) -> Served:
    async def greet(asked: Any) -> Any:
        return Greeting(text=text.format(asked.name))

    return Served({ASIDE: _answered(greet)})


def _answered(function: Any) -> Any:
    async def answer(stream: Stream[Any, Any]) -> None:
        await stream.send_message(await function(await stream.recv_message()))

    return answer


def _break(broker: Broker) -> Any:
    print("printed before it breaks")
    raise RuntimeError("it is broken")


def main(*what: str) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    if "prints-first" in what:
        print("printed before it serves")
    if "little-patience" in what:
        stdio.Backlog.__init__.__defaults__ = (1 << 20, 1 << 10, 0.1)  # type: ignore[misc]
    if "patient" in what:
        serving._TO_READ = 30.0  # type: ignore[misc]
    if "breaks" in what:
        serve(_break, HANDSHAKE)
    serve(lambda broker: [Peer(broker, 2)], HANDSHAKE, versions={1: lambda broker: [Peer(broker, 1)]})
    print("served")


if __name__ == "__main__":
    main(*sys.argv[1:])
