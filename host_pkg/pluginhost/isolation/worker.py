"""The process of an isolated plugin: it says who it is, makes the plugin, and answers its calls.

The plugin's life runs on the main thread, its calls on a thread for each channel.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

import pluginapi
from pluginhost import factories, handover, identity, places, reimport
from pluginhost.errors import PluginHostError
from pluginhost.isolation import frames, handshake
from pluginhost.isolation.back import Back
from pluginhost.isolation.codec import Codec
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.far import FarHost
from pluginhost.isolation.frames import EMPTY, FAILED, Message
from pluginhost.isolation.reports import Refusal, Report
from pluginhost.isolation.services import Init, unpacked_config
from pluginhost.isolation.serving import serve
from pluginhost.isolation.system import named
from pluginhost.survey import Candidate, Distribution

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Generator
    from typing import TypedDict

    from pluginhost.isolation.channel import Channel
    from pluginhost.isolation.frames import Frame
    from pluginhost.isolation.looping import LoopThread

    class Job(TypedDict):
        """What a child is told when it is started.

        Attributes:
            path: The host's `sys.path`.
            system: What the two have of the operating system, by name.
            invitation: How the child comes to its host.
            host: The host's process id.
            entry: The entry point's group, name and value.
            distribution: Its distribution's name, version, origin and metadata folder.
            api: The import name of the API package.
            contracts: The names of the contracts that the plugin must implement.
            stamped: The capabilities that its manifest has; `None` when it has no manifest.
            built_against: The API version that its wheel was built against; empty when that is not known.
            is_older: Whether that is older than the host's.
            config: The plugin's configuration, packed.
            config_path: Where that is set, as a message names it.
            limits: What the process may use: MiB, seconds, files.
        """

        path: list[str]
        system: str
        invitation: str
        host: int
        entry: tuple[str, str, str]
        distribution: tuple[str, str, str, str]
        api: str
        contracts: list[str]
        stamped: list[str] | None
        built_against: str
        is_older: bool
        config: bytes
        config_path: str
        limits: tuple[int | None, int | None, int | None]


def main(job: Job) -> None:
    """Does the job, until the host says that it is enough or is gone."""
    life = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for stream in (sys.stdout, sys.stderr):
        cast("io.TextIOWrapper", stream).reconfigure(line_buffering=True)  # what it prints is in the log at once
    sys.argv[:] = [f"pluginhost: {job['entry'][1]}"]
    system = named(job["system"])
    system.end_with_host(job["host"], life)
    entrance = system.enter(job["invitation"])
    if not system.limit(*job["limits"]):
        print("its limits are not held: this system has none", file=sys.stderr)
    faulthandler.enable(os.dup(2), all_threads=False)  # of a crash, the line in which it came is the last word
    worker = Worker(job)

    def listen() -> None:
        try:
            serve(entrance, worker.answer, worker.back.take, worker.text)
        finally:
            worker.stages.put(None)

    threading.Thread(target=listen, name="pluginhost: control", daemon=True).start()
    while (stage := worker.stages.get()) is not None:
        stage()


class Worker:
    """A plugin and what its host asks of it.

    Attributes:
        stages: What the main thread is to do.
        back: Where the channels come from over which the plugin calls its host.
    """

    def __init__(self, job: Job) -> None:
        self.stages: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.back = Back()
        self._job = job
        self._candidate = Candidate(*job["entry"], Distribution(*job["distribution"]))
        self._known: dict[str, type] = {}
        self._module: Any = None
        self._factory: Callable[[], object] | None = None
        self._plugin: Any = None
        self._host: FarHost | None = None
        self._looping: LoopThread | None = None
        self._lock = threading.Lock()
        self._codec: Codec | None = None
        self._stages = {
            frames.HELLO: self._hello,
            frames.IMPORT: self._import,
            frames.NEW: self._new,
            frames.INIT: self._init,
            frames.VALIDATE: self._validate,
            frames.EXPORT: self._export,
            frames.RESTORE: self._restore,
            frames.SHUTDOWN: self._shutdown,
        }

    def answer(self, frame: Frame, channel: Channel) -> Message | Generator[Message, None, None]:
        """Returns the reply to what the host asks, or the items of a stream."""
        if frame.operation < frames.CALLS:
            return self._on_main(frame)
        method = self._codec.operations.get(frame.operation) if self._codec else None
        if method is None:
            raise frames.malformed(f"operation {frame.operation}, which no contract of the plugin's has")
        value = method.apply(self._plugin, frame)
        if method.is_stream:
            items = self._loop.items(value, channel) if method.is_async else value
            return method.packed(items)
        return method.result.pack(self._loop.run(value, channel) if method.is_async else value)

    @property
    def _loop(self) -> LoopThread:
        """The event loop of the plugin's coroutines."""
        with self._lock:
            if self._looping is None:
                from pluginhost.isolation.looping import LoopThread  # asyncio is dear, and few plugins need it

                self._looping = LoopThread()
            return self._looping

    def text(self, exc: BaseException) -> str:
        """Returns what the plugin raised, and where."""
        return places.raised(exc, self._candidate.module)

    def _on_main(self, frame: Frame) -> Message:
        """Returns the reply to what the main thread does."""
        if frame.operation == frames.EVENT:
            if self._host:
                self._host.deliver(frame)
            return EMPTY
        done: queue.SimpleQueue[Message] = queue.SimpleQueue()

        def stage() -> None:
            try:
                done.put(self._stages[frame.operation](frame))
            except PluginHostError as exc:
                done.put(_refusal(exc) if frame.operation in _MAKING else Failure.of(exc).pack())
            except BaseException as exc:
                done.put(Failure.of(exc, self.text).pack())

        self.stages.put(stage)
        return done.get()

    def _hello(self, frame: Frame) -> Message:
        self._known = identity.import_contracts(self._job["api"])
        return _message(handshake.identity(self._job["api"], self._candidate.distribution.info))

    def _import(self, frame: Frame) -> Message:
        reimport.by_content(self._candidate.module.partition(".")[0])  # it may just have been installed
        self._module = factories.import_module(self._candidate)
        self._factory = factories.find(self._module, self._candidate)
        config, path = unpacked_config(self._job["config"]), self._job["config_path"]
        factories.require_config(self._module, config, path, self._candidate)
        return EMPTY

    def _new(self, frame: Frame) -> Message:
        job, candidate = self._job, self._candidate
        assert self._factory is not None
        plugin = factories.make(self._factory, candidate)
        wanted, known = [self._known[name] for name in job["contracts"]], list(self._known.values())
        identity.require_contracts(plugin, wanted, candidate, known, is_older=job["is_older"])
        version = identity.stated_version(job["api"])
        identity.require_version(plugin, self._module, version, candidate, job["built_against"])
        capabilities = identity.require_capabilities(self._module, job["stamped"], candidate)
        own = identity.own_contracts(plugin, known)
        if not own:
            raise identity.wrong_contract(plugin, self._known["Plugin"], candidate)
        names = [next(name for name, cls in self._known.items() if cls is contract) for contract in own]
        self._plugin, self._codec = plugin, Codec(*own)
        concurrency = identity.stated(plugin, "concurrency")
        is_number = concurrency is None or type(concurrency) is int
        told = cast("int | None", concurrency) if is_number else identity.class_name(concurrency)
        cls = identity.module_of(type(plugin)), identity.class_name(plugin)
        state = handover.stated(plugin, candidate)
        return _message(Report(names, self._codec.digest, sorted(capabilities), cls, told, state))

    def _init(self, frame: Frame) -> Message:
        init = _INIT(frame.meta or frame.body)
        pluginapi.Plugin.__dict__["name"].__set__(self._plugin, init.name)
        self._host = FarHost(self.back, init)
        return _nothing("init", self._plugin.init(self._host))

    def _validate(self, frame: Frame) -> Message:
        return _nothing("validate", self._plugin.validate())

    def _export(self, frame: Frame) -> Message:
        return frames.message(handover.packed(self._plugin.export_state()))

    def _restore(self, frame: Frame) -> Message:
        state = handover.unpacked(frame.meta or frame.body)
        return _nothing("restore_state", self._plugin.restore_state(state))

    def _shutdown(self, frame: Frame) -> Message:
        try:
            return _nothing("shutdown", self._plugin.shutdown())
        finally:
            if self._host:
                self._host.revoke()


_MAKING: Final = frozenset({frames.HELLO, frames.IMPORT, frames.NEW})
"""What is asked for before there is a plugin: these fail as a load does."""
_INIT: Final = msgspec.msgpack.Decoder(Init).decode
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_TRACEBACK: Final = 16 << 10


def _message(said: msgspec.Struct) -> Message:
    return Message(0, _ENCODE(said), b"")


def _refusal(exc: PluginHostError) -> Message:
    """Returns why a plugin could not be made, as a reply."""
    cause = Failure.of(exc.__cause__).traceback if exc.__cause__ else ""
    findings = [each.to_plain()[:4] for each in (exc.finding, *exc.more)][:20]
    return Message(FAILED, _ENCODE(Refusal(findings, cause[-_TRACEBACK:])), b"")


def _nothing(name: str, returned: object) -> Message:
    """Returns the reply of what returns nothing.

    Raises:
        TypeError: It returned something.
    """
    if returned is not None:
        raise TypeError(
            f"{name} returned a {identity.class_name(returned)}, and is to return nothing; it is no `async def`"
        )
    return EMPTY
