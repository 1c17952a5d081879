"""What Python has for protobuf's own types: numbers, text, moments, and what JSON has."""

from __future__ import annotations

import datetime
import decimal
import types
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from pluginhost.goplugin.fields import Foreign, Misfit, Number, Scalar, describe_key
from pluginhost.identity import class_name
from pluginhost.isolation.shapes import to_wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_LONGEST: Final = 315_576_000_000
"""Seconds of the longest `Duration`, and the shortest; about 10,000 years."""


def _fill_moment(message: Any, value: datetime.datetime) -> None:
    if value.utcoffset() is None:
        raise Misfit("", "a datetime without a time zone, which is no moment")
    message.seconds, rest = divmod((value - _EPOCH) // _MICROSECOND, 1_000_000)
    message.nanos = rest * 1000


def _read_moment(message: Any) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def _fill_duration(message: Any, value: datetime.timedelta) -> None:
    total = value // _MICROSECOND
    sign = -1 if total < 0 else 1  # both parts have it
    seconds, rest = divmod(abs(total), 1_000_000)
    if seconds > _LONGEST:
        raise Misfit("", f"{seconds:,} seconds, which are more than a Duration may have")
    message.seconds, message.nanos = sign * seconds, sign * rest * 1000


def _read_duration(message: Any) -> datetime.timedelta:
    return datetime.timedelta(seconds=message.seconds, microseconds=int(message.nanos / 1000))


def _fill_any(message: Any, value: Any) -> None:
    _fill_plain(message, msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview), enc_hook=to_wire))


def _fill_plain(message: Any, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif value is True or value is False:
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
        if message.number_value != value and value == value:
            raise Misfit("", f"{value} is larger than JSON's numbers are exact")
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list | tuple | set | frozenset):
        message.list_value.SetInParent()
        for each in value:
            _fill_plain(message.list_value.values.add(), each)
    elif isinstance(value, dict):
        message.struct_value.SetInParent()
        for key, each in value.items():
            if not isinstance(key, str):
                raise Misfit("", f"a table with {describe_key(key)} as a key, where JSON has text")
            _fill_plain(message.struct_value.fields[key], each)
    else:
        raise Misfit("", f"a {class_name(value)}, which JSON does not have")


def _read_any(message: Any) -> Any:
    match message.WhichOneof("kind"):
        case "number_value":
            number = message.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "struct_value":
            return {key: _read_any(each) for key, each in message.struct_value.fields.items()}
        case "list_value":
            return [_read_any(each) for each in message.list_value.values]
        case None | "null_value":
            return None
        case name:
            return getattr(message, name)


def _day(value: datetime.date) -> str:
    if isinstance(value, datetime.datetime):
        raise Misfit("", "a datetime where a date belongs")
    return value.isoformat()


def _same(value: Any) -> Any:
    return value


def _text(label: str, cls: type, decode: Callable[[str], Any], encode: Callable[[Any], str] = str) -> Scalar:
    return Scalar(label, FieldDescriptorProto.TYPE_STRING, (cls,), encode, decode)


BOOL: Final = Scalar("Bool", FieldDescriptorProto.TYPE_BOOL, (bool,), _same, _same)
INT: Final = Scalar("Int64", FieldDescriptorProto.TYPE_INT64, (int,), int.__int__, _same)
TEXT: Final = _text("String", str, _same, str.__str__)
SCALARS: Final[dict[Any, Scalar]] = {
    bool: BOOL,
    int: INT,
    float: Number("Double", FieldDescriptorProto.TYPE_DOUBLE, (float,), float, _same),
    str: TEXT,
    bytes: Scalar("Bytes", FieldDescriptorProto.TYPE_BYTES, (bytes,), bytes, _same),
    bytearray: Scalar("Bytearray", FieldDescriptorProto.TYPE_BYTES, (bytearray,), bytes, bytearray),
    decimal.Decimal: _text("Decimal", decimal.Decimal, decimal.Decimal),
    uuid.UUID: _text("Uuid", uuid.UUID, uuid.UUID),
    datetime.date: _text("Date", datetime.date, datetime.date.fromisoformat, _day),
    datetime.time: _text("Time", datetime.time, datetime.time.fromisoformat, datetime.time.isoformat),
}
FOREIGN: Final[dict[Any, Foreign]] = {
    datetime.datetime: Foreign("Timestamp", (datetime.datetime,), "timestamp", _fill_moment, _read_moment),
    datetime.timedelta: Foreign("Duration", (datetime.timedelta,), "duration", _fill_duration, _read_duration),
    object: Foreign("Value", (object,), "struct", _fill_any, _read_any, None),
    Any: Foreign("Value", (object,), "struct", _fill_any, _read_any, None),
    types.NoneType: Foreign(
        "Empty", (types.NoneType,), "empty", lambda message, value: None, lambda message: None, None
    ),
}
