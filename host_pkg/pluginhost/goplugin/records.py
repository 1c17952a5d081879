"""Messages of a contract's own: their fields are the parts of a value, or what it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pluginhost.goplugin.fields import OMITTED, Field, Message, Misfit, misfit, misplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Record(Message):
    """A message whose fields are the parts of a value.

    Attributes:
        cls: The class after which it is named; `None` when it is named after its fields.
        fields: By number.
        split: Returns a value's parts, `OMITTED` for what has none.
    """

    __slots__ = ("cls", "fields", "join", "split")

    def __init__(
        self,
        label: str,
        accepts: tuple[type, ...],
        split: Callable[[Any], Iterable[Any]],
        join: Callable[[dict[str, Any]], Any],
        cls: type | None = None,
    ) -> None:
        """Makes a message without fields; they are added once it is known, since one may be of its own type.

        Args:
            label: What it is called after.
            accepts: The classes of its values.
            split: Returns a value's parts, `OMITTED` for what has none.
            join: Returns the value of its parts by name, without those that were left out.
            cls: What it is named after.
        """
        self.label = label
        self.accepts = accepts
        self.split = split
        self.join = join
        self.cls = cls
        self.fields: list[Field] = []
        self.name = ""

    def fill(self, message: Any, value: Any) -> None:
        if not isinstance(value, self.accepts):
            raise misplaced(value, self.accepts)
        for field, part in zip(self.fields, self.split(value), strict=True):
            try:
                field.put(message, part)
            except Exception as exc:  # whatever an object raises that is looked at
                raise misfit(field.name, exc) from exc

    def read(self, message: Any) -> Any:
        return self.join(self.parts(message))

    def parts(self, message: Any) -> dict[str, Any]:
        """Returns the parts by name, without those that were left out."""
        parts = {}
        for field in self.fields:
            try:
                value = field.take(message)
            except Exception as exc:  # a class of the contract's that refuses what came
                raise misfit(field.name, exc) from exc
            if value is not OMITTED:
                parts[field.name] = value
        return parts


class Box(Message):
    """A message that holds what cannot stand by itself: a list, a table, or what may be `None`."""

    __slots__ = ("fields",)

    def __init__(self, inner: Field, label: str, accepts: tuple[type, ...]) -> None:
        self.fields = [inner]
        self.label = label
        self.accepts = accepts
        self.name = ""

    def fill(self, message: Any, value: Any) -> None:
        self.fields[0].put(message, value)

    def read(self, message: Any) -> Any:
        return self.fields[0].take(message)


class Union(Message):
    """A message with one field for each member of a union, of which one is set."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.label = "Or".join(field.kind.label for field in fields)
        self.accepts = tuple(cls for field in fields for cls in field.kind.accepts)
        self.name = ""

    def fill(self, message: Any, value: Any) -> None:
        of = type(value)
        field = next((field for field in self.fields if of in field.kind.accepts), None)
        field = field or next((field for field in self.fields if isinstance(value, field.kind.accepts)), None)
        if field is None and of is int:  # which stands for a number of another type, where there is one
            field = next((field for field in self.fields if float in field.kind.accepts), None)
        if field is None:
            raise misplaced(value, self.accepts)
        field.put(message, value)

    def read(self, message: Any) -> Any:
        name = message.WhichOneof("value")
        if name is None:
            raise Misfit("", "nothing is set of what it may be")
        return next(field for field in self.fields if field.name == name).take(message)
