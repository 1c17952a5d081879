"""The road from a command to a plugin that serves."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pluginhost.errors import GoPluginError, describe, escape
from pluginhost.goplugin.broker import Security
from pluginhost.goplugin.certificates import Certificate, client_context, server_context
from pluginhost.goplugin.channel import LOST, Channel
from pluginhost.goplugin.handshake import Line, environment
from pluginhost.goplugin.hosting import Program
from pluginhost.goplugin.services import is_serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from pluginhost.goplugin.faults import Faults
    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.isolation.spawning import Nursery

_LAST_WORDS_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is started.

    Attributes:
        command: The program and its arguments.
        handshake: What was agreed upon with it.
        is_secured: Whether both sides do AutoMTLS.
        env: All of its environment, but for what go-plugin adds; this process's when `None`.
        cwd: Its working folder; this process's when `None`.
        seconds: Until it has to answer.
        checksums: The SHA-256 of files, by their paths.
        limit: Bytes of the largest message that is taken; any when `None`.
        out: Called with what it writes to standard output.
        err: Called with what it writes to standard error.
    """

    command: tuple[str, ...]
    handshake: HandshakeConfig
    is_secured: bool
    env: Mapping[str, str] | None
    cwd: str | None
    seconds: float
    checksums: Mapping[str, str]
    limit: int | None
    out: Callable[[bytes], object]
    err: Callable[[bytes], object]


class Started(NamedTuple):
    """A plugin that serves.

    Attributes:
        program: Its process.
        channel: The channel to it.
        security: The certificates of both sides; `None` in the clear.
        folder: Where sockets are made.
        version: The version of the application's protocol.
    """

    program: Program
    channel: Channel
    security: Security | None
    folder: str
    version: int


async def begin(plan: Plan, faults: Faults, nursery: Nursery) -> Started:
    """Returns the plugin; it is known to `faults` as soon as there is a process, also where it fails.

    Raises:
        GoPluginError: It does not come to serve.
    """
    until = asyncio.get_running_loop().time() + plan.seconds
    command = await _checked(plan, faults)
    own = Certificate.make() if plan.is_secured else None
    program, folder = await _spawn(plan, command, own, faults, nursery)
    first = await _first_line(plan, program, faults, until)
    try:
        line = Line.parse(os.fsdecode(first))
        line.require_version(plan.handshake)
        line.require_certificate(is_wanted=plan.is_secured)
        security = _security(own, line.certificate) if own else None
    except GoPluginError as exc:
        await program.has_ended(_LAST_WORDS_SECONDS)  # it may say more of it
        raise faults.about(exc) from exc.__cause__
    program.accept()
    faults.channel = channel = Channel(line, security and security.dialing, plan.limit)
    await _connect(plan, channel, line, faults, until)
    return Started(program, channel, security, folder, line.version)


async def _checked(plan: Plan, faults: Faults) -> tuple[str, ...]:
    """Returns the command, with the program for which there is a checksum as it was found."""
    program, *arguments = plan.command
    for given, wanted in plan.checksums.items():
        path = _found(plan, given)
        try:
            digest = await asyncio.to_thread(_digest, path)
        except OSError as exc:
            raise faults.failed("program-unstartable", describe(exc)) from exc
        if not hmac.compare_digest(digest.encode(), wanted.lower().encode()):
            what = f"{path} has the SHA-256 {digest}, and not {escape(wanted, limit=100)}"
            raise faults.failed("program-changed", what)
        if given == program:
            program = path
    return program, *arguments


def _found(plan: Plan, given: str) -> str:
    """Returns the path of the program, or of a file that it is given, as it will be found."""
    if os.path.dirname(given) or given != plan.command[0]:
        return os.path.abspath(os.path.join(plan.cwd or "", given))
    variables = os.environ if plan.env is None else plan.env
    return shutil.which(given, path=variables.get("PATH")) or given


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _spawn(
    plan: Plan, command: tuple[str, ...], own: Certificate | None, faults: Faults, nursery: Nursery
) -> tuple[Program, str]:
    """Returns the program, started, and the folder for its sockets and ours."""
    folder = tempfile.mkdtemp(prefix="plugin-")
    try:
        certificate = own.pem if own else ""
        variables = environment(plan.handshake, certificate, socket_folder=folder, inherited=plan.env)
        program = Program(faults.name, plan.out, plan.err)
        program.owns_folder(folder)
        await program.start(nursery, command, variables, plan.cwd)
    except BaseException as exc:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(exc, OSError | ValueError):
            raise faults.failed("program-unstartable", describe(exc)) from exc
        raise
    faults.program = program
    if faults.is_unwanted:  # since it was being made
        program.kill()
    return program, folder


async def _first_line(plan: Plan, program: Program, faults: Faults, until: float) -> bytes:
    try:
        async with asyncio.timeout_at(until):
            first = await asyncio.shield(program.line)
    except TimeoutError as exc:
        what = f"it has not said within {plan.seconds:g} s where it can be reached"
        raise faults.failed("handshake-late", what) from exc
    if first is None:
        if await program.has_ended():
            raise faults.failed("program-died")
        raise faults.failed("handshake-malformed", "it closed its standard output without the handshake")
    return first


def _security(own: Certificate, peer: bytes) -> Security:
    return Security(server_context(own, ssl.DER_cert_to_PEM_cert(peer)), client_context(own, peer))


async def _connect(plan: Plan, channel: Channel, line: Line, faults: Faults, until: float) -> None:
    where = f"it does not answer at {line.network} {line.address}"
    try:
        async with asyncio.timeout_at(until):
            # A plugin that does not take our certificate says so only now.
            if not await is_serving(channel):
                raise faults.failed("peer-failed", "it says that it does not serve")
    except GRPCError as exc:
        if exc.status is not Status.UNIMPLEMENTED:  # it answers, whatever else it lacks
            raise faults.failed("peer-failed", f"{where}: {status_of(exc)}") from exc
    except LOST as exc:
        told = await faults.lost(exc, where, plan.seconds)
        if plan.is_secured and isinstance(exc, StreamTerminatedError) and told.finding.code == "peer-failed":
            # Of TLS 1.3: its reason is lost if we were about to write.
            what = f"{where}: it closed the connection when it had seen this side's certificate"
            told = faults.failed("certificate-wrong", what)
        raise told from exc


def status_of(exc: GRPCError) -> str:
    """Returns what the other side says of a failure."""
    return escape(f"{exc.status.name} {exc.message or ''}".strip(), limit=300)
