from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pluginapi import _structure

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''
"""A docstring."""
from abc import abstractmethod
from dataclasses import dataclass
from pluginapi import Plugin

VERSION = "1"
Names = list[str]

@dataclass(frozen=True)
class Item:
    """A docstring."""
    id: str
    size: int = 0

class Store(Plugin):
    kind: str

    @abstractmethod
    def put(self, item: Item, *, twice: bool = False) -> Names:
        """A docstring."""

    def _private(self, x: int) -> None: ...
'''


def fingerprint(folder: Path, source: str) -> str:
    folder.joinpath("__init__.py").write_text(source)
    return _structure.fingerprint(_structure.parse(folder))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A docstring."""', '"""Another\n\n    text."""'),
        ('VERSION = "1"', 'VERSION = "2"  # a comment'),
        ("x: int", "y: int"),
        ("\n\n", "\n\n\n"),
    ],
)
def test_what_nobody_can_rely_on_leaves_it_alone(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert fingerprint(tmp_path, SOURCE.replace(old, new)) == fingerprint(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class Item", "class Thing"),
        ("id: str", "id: bytes"),
        ("id: str", "key: str"),
        ("size: int = 0", "size: int = 1"),
        ("size: int = 0", "size: int"),
        ("frozen=True", "frozen=False"),
        ("(Plugin)", "(Item, Plugin)"),
        ("kind: str", "kind: str | None"),
        ("def put(", "def store("),
        ("def put(", "async def put("),
        ("item: Item,", "thing: Item,"),
        ("item: Item,", "item: str,"),
        (" *,", ""),
        ("twice: bool = False", "twice: bool = True"),
        ("-> Names", "-> None"),
        ("@abstractmethod", "@property"),
        ("Names = list[str]", "Names = list[int]"),
        ("    kind: str\n", ""),
    ],
)
def test_any_change_of_shape_alters_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert fingerprint(tmp_path, SOURCE.replace(old, new)) != fingerprint(tmp_path, SOURCE)


def test_every_python_gets_the_same(tmp_path: Path) -> None:
    """Each Python runs this test, and must come to the figure that is written here."""
    assert fingerprint(tmp_path, SOURCE) == "sha256:b645493e29f0a45f38a72ae5d210149314f95628df66fa97fd17b622a231f033"


def test_private_modules_do_not_count(tmp_path: Path) -> None:
    before = fingerprint(tmp_path, SOURCE)
    tmp_path.joinpath("_machinery.py").write_text("class X: ...")
    assert fingerprint(tmp_path, SOURCE) == before
    tmp_path.joinpath("more.py").write_text("class X: ...")
    assert fingerprint(tmp_path, SOURCE) != before


def test_contracts_are_what_derives_from_plugin_or_from_a_known_contract(tmp_path: Path) -> None:
    tmp_path.joinpath("__init__.py").write_text(
        "from pluginapi import Plugin, Greeter, Request\n"
        "class A(Plugin): ...\nclass B(A): ...\nclass C(Greeter): ...\nclass _D(A): ...\nclass E: ...\n"
    )
    assert _structure.contracts(_structure.parse(tmp_path), {"Greeter"}) == ("A", "B", "C", "Greeter")
