"""`pluginhost call`: one call of one plugin, its arguments and its answer as text."""

from __future__ import annotations

import inspect
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pluginhost import identity
from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, plugin_options
from pluginhost.errors import ConfigurationError, Finding, PluginHostError, escape
from pluginhost.interrupts import is_persons
from pluginhost.settings import Isolation, When

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pluginhost.lifecycle import Handle

_NOT_CALLS = {"init", "validate", "shutdown"}


@click.command(context_settings={"ignore_unknown_options": True})  # so that -5 is a number
@click.argument("name", shell_complete=complete_name)
@click.argument("method")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--probe", type=click.Choice(typing.get_args(When)), show_default="new",
    help="When its first load is tried in a process of its own.",
)  # fmt: skip
@click.option(
    "--isolation", type=click.Choice(typing.get_args(Isolation)), show_default="none",
    help="Where it runs: `process` for a process of its own.",
)  # fmt: skip
@plugin_options
def call(
    host: Host, name: str, method: str, args: tuple[str, ...], probe: When | None, isolation: Isolation | None
) -> None:
    """Starts a plugin, calls one of its methods and prints what it returns.

    ARGS are converted by the method's type hints: text as it stands, numbers, true and false, bytes as text or from
    @FILE or - (standard input), anything else as JSON.
    """
    with host.manager(probe=probe, control=False) as manager:  # it is over soon, and no host
        handle = manager.handle(name, isolation=isolation)
        function, declared = _method(handle, method)
        arguments = _arguments(declared, args)
        try:
            result = function(*arguments)
            if inspect.iscoroutine(result):
                import asyncio  # few contracts are asynchronous

                result = asyncio.run(result)
        except PluginHostError:
            raise
        except BaseException as exc:
            if is_persons(exc):
                raise
            raise _call_failed(handle, method, exc) from exc
        if host.as_json:
            output.write_json({"plugin": name, "method": method, "result": result})
        else:
            _write(result)


def _method(handle: Handle, name: str) -> tuple[Callable[..., object], Callable[..., object]]:
    """Returns a plugin's method, and the function that declares it: the contract's, where there is one."""
    methods = {
        name
        for name, _ in inspect.getmembers_static(type(handle.plugin), inspect.isfunction)
        if not name.startswith("_") and name not in _NOT_CALLS
    }
    if name not in methods:
        raise ConfigurationError(
            Finding(
                "method-unknown",
                f"{handle.candidate} has no method {name!r}",
                f"it has: {', '.join(sorted(methods)) or 'none'}",
            )
        )
    declaring = [cls for cls in identity.real_mro(handle.plugin) if name in vars(cls)][-1]
    from pluginapi import Plugin  # which may be a copy that is refused, so other subcommands do without

    stub = handle.require(Plugin) if handle.implements(Plugin) else None
    # What no contract has is called past the stub.
    return getattr(stub if hasattr(stub, name) else handle.plugin, name), vars(declaring)[name]


def _arguments(declared: Callable[..., object], args: Sequence[str]) -> list[object]:
    """Returns the command's words as the values that a method takes."""
    signature = inspect.signature(declared)
    try:
        hints = typing.get_type_hints(declared)
    except Exception:  # annotations that name what is not there at run time: the words stay text
        hints = {}
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in list(signature.parameters.values())[1:]  # not self
    ]
    try:
        bound = inspect.Signature(parameters).bind(*args)
    except TypeError as exc:
        shown = inspect.Signature(parameters, return_annotation=hints.get("return", inspect.Signature.empty))
        raise _wrong_arguments(f"{declared.__name__}: {exc}", f"it is called as {declared.__name__}{shown}") from exc
    values: list[object] = []
    for name, given in bound.arguments.items():
        variadic = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        values += [_value(name, text, hints.get(name, str)) for text in (given if variadic else [given])]
    return values


def _value(name: str, text: str, hint: object) -> object:
    import msgspec

    if hint is bytes:
        return _bytes(text)
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        pass  # not a scalar: JSON, or wrong
    try:
        return msgspec.json.decode(text, type=hint)
    except msgspec.DecodeError as exc:
        kind = getattr(hint, "__name__", hint)
        raise _wrong_arguments(
            f"{name}: {text!r} is not a {kind}: {exc}", f"write a {kind}, as JSON unless it is plain"
        ) from exc


def _bytes(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as exc:
        raise _wrong_arguments(f"{text[1:]} cannot be read: {exc.strerror}", "give @ and the path of a file") from exc


def _write(result: object) -> None:
    match result:
        case None:
            pass
        case str():
            output.write(escape(result, keep="\n\t"))
        case bytes() if not sys.stdout.isatty():
            sys.stdout.buffer.write(result)
            sys.stdout.buffer.flush()
        case _:
            output.write(escape(repr(result)))


def _wrong_arguments(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding("arguments-wrong", message, hint))


def _call_failed(handle: Handle, method: str, exc: BaseException) -> BaseException:
    """Returns the error of a call that went past the stub, or of what the plugin says to its caller: us."""
    if handle.serving is None:  # it has stopped itself
        return exc
    author = handle.candidate.distribution.name
    hint = f"other arguments may do; else tell the author of {author}, with --traceback"
    return handle.serving.blame.failed(method, exc, hint)
