"""What was raised on the other side: its type, message and traceback, as text."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pluginhost import errors
from pluginhost.errors import Finding, PluginCallError, PluginHostError, PluginsFailed, describe
from pluginhost.isolation import frames

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable
    from typing import Final

E = TypeVar("E", bound=BaseException)

_MESSAGE_LIMIT: Final = 8 << 10
_TRACEBACK_LIMIT: Final = 32 << 10
_PLAIN: Final = (type(None), bool, int, float, str)


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as it crosses.

    Attributes:
        module: Where its type is defined.
        type: The qualified name of its type.
        message: Its type and message.
        traceback: The formatted traceback; empty when there is none.
        arguments: What it was made of, where that is plain; `None` else.
        code: A key of the catalogue when the host's own code says so; empty else.
        hint: What that says is to be done.
        error: The name of the host's error that says it.
        call: The plugin, its version and the method that a failed call was of; empty else.
    """

    module: str
    type: str
    message: str
    traceback: str = ""
    arguments: list[bool | int | float | str | None] | None = None
    code: str = ""
    hint: str = ""
    error: str = ""
    call: list[str] = []

    @classmethod
    def of(cls, exc: BaseException, text: Callable[[BaseException], str] = describe) -> Failure:
        """Returns what is told of an exception, whatever it does when it is asked.

        Args:
            exc: What was raised.
            text: Returns its type and message.
        """
        kind = type(exc)
        given = BaseException.__dict__["args"].__get__(exc)
        if issubclass(kind, PluginHostError) and given and type(given[0]) is Finding:
            told = given[0]
            return cls(
                "",
                "",
                clean(told.message, _MESSAGE_LIMIT),
                code=clean(told.code, 100),
                hint=clean(told.hint, 1000),
                error=type.__dict__["__name__"].__get__(kind),
                call=[_text(exc, name) for name in _CALL] if kind is PluginCallError else [],
            )
        module = type.__dict__["__module__"].__get__(kind)
        name: str = type.__dict__["__qualname__"].__get__(kind)
        arguments = None
        if all(type(each) in _PLAIN for each in given) and sum(map(_length, given)) < _MESSAGE_LIMIT // 4:
            arguments = [clean(each, _MESSAGE_LIMIT) if type(each) is str else each for each in given]
        module = module if type(module) is str else ""
        message = clean(text(exc), _MESSAGE_LIMIT)
        return cls(clean(module, 1000), clean(name, 1000), message, _formatted(exc), arguments)

    def pack(self) -> frames.Message:
        """Returns the failure as a message."""
        try:
            meta = _ENCODE(self)
        except OverflowError:  # an argument that is a larger number than crosses
            meta = _ENCODE(msgspec.structs.replace(self, arguments=None))
        return frames.Message(frames.FAILED, meta, b"")

    @staticmethod
    def unpack(frame: frames.Frame) -> Failure:
        """Returns the failure that a frame is.

        Raises:
            PluginCallError: It is none.
        """
        try:
            return _DECODE(frame.meta)
        except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
            raise frames.malformed(f"a failure that cannot be read: {exc}") from exc

    def host_error(self) -> PluginHostError:
        """Returns the host's error anew, of its own class, where the failure has a code of the catalogue's."""
        finding = Finding(self.code, self.message, self.hint)
        kind = _ERRORS.get(self.error, PluginHostError)
        if kind is PluginCallError:
            return PluginCallError(finding, **dict(zip(_CALL, self.call, strict=False)))
        return kind(finding)

    def revived(self, known: Iterable[builtins.type[E]]) -> E | None:
        """Returns the exception anew, of the one of some types that it is of; `None` when it is of none.

        Args:
            known: Those that both sides have, such as what the API package derives from `PluginError`.
        """
        for kind in known:
            if (kind.__module__, kind.__qualname__) == (self.module, self.type) and self.arguments is not None:
                try:
                    exc = kind(*self.arguments)
                except Exception:  # it is not made of its arguments
                    return None
                return exc if type(exc) is kind else None
        return None


def _text(exc: BaseException, name: str) -> str:
    value = vars(exc).get(name)
    return clean(value, 1000) if type(value) is str else ""


def _length(value: object) -> int:
    return len(value) if isinstance(value, str) else 8


def _formatted(exc: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(exc))
    except BaseException as broken:  # what the exception holds may raise when it is printed
        text = f"<its traceback raised {describe(broken)}>"
    if len(text) > _TRACEBACK_LIMIT:
        text = f"…{text[-_TRACEBACK_LIMIT // 2 :]}"
    return clean(text, _TRACEBACK_LIMIT)


def clean(text: str, limit: int) -> str:
    """Returns a text that can be encoded, of so many bytes at most."""
    return text[:limit].encode("utf-8", "backslashreplace")[:limit].decode("utf-8", "ignore")


_CALL: Final = ("plugin", "version", "method")
"""What a `PluginCallError` says of the call that failed."""
_ERRORS: Final[dict[str, builtins.type[PluginHostError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PluginHostError) and kind is not PluginsFailed
}
"""The host's errors that are made of a finding, by name."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Failure).decode
