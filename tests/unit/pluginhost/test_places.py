"""Where an exception arose is told, whatever the exception is, and also when its traceback ends in a library."""

from __future__ import annotations

import json
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost.places import place, raised

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = """
import json, importlib
class Liar(ValueError):
    __traceback__ = __class__ = __cause__ = property(lambda self: 1 / 0)
    def __str__(self): raise SystemExit
def own(): raise KeyError("x")
def parsing(): json.loads("{")
def host(): importlib.import_module("no_such_module")
def back(call): return call()
def liar(): raise Liar("x")
def silent(): raise ValueError
def deep():
    def down(left): return down(left - 1) if left else 1 / 0
    down(500)
def compiled(): compile("x = = 3", "/srv/broken.py", "exec")
def worded(): raise SyntaxError("no, thanks")
def long(): raise ValueError("x" * 100_000_000)
"""


@pytest.fixture
def plugin() -> Any:
    module: Any = ModuleType("zoo_plugin.inner")
    exec(compile(SOURCE, "/site/zoo_plugin/inner.py", "exec"), vars(module))
    return module


def caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def test_the_plugins_own_line_is_told(plugin: Any) -> None:
    assert raised(caught(plugin.own), "zoo_plugin") == "raised KeyError: 'x', in /site/zoo_plugin/inner.py, line 6"


def test_so_is_the_librarys_in_which_it_ends(plugin: Any) -> None:
    told = place(caught(plugin.parsing), "zoo_plugin")
    assert told.startswith(f"in {json.decoder.__file__}, line ")
    assert told.endswith(", called from /site/zoo_plugin/inner.py, line 7")


def test_where_the_host_refused_what_the_plugin_asked_the_plugins_line_is_told(plugin: Any) -> None:
    assert place(caught(plugin.host), "zoo_plugin") == "in /site/zoo_plugin/inner.py, line 8"


def test_of_several_of_the_plugins_lines_the_innermost_is_told(plugin: Any) -> None:
    assert place(caught(lambda: plugin.back(plugin.own)), "zoo_plugin").endswith("line 6")
    assert place(caught(plugin.deep), "zoo_plugin").endswith("line 13")


def test_a_plugin_is_all_of_its_package_and_the_parents_that_are_imported_first(plugin: Any) -> None:
    exc = caught(plugin.own)
    assert place(exc, "zoo_plugin.inner") == place(exc, "zoo_plugin.inner.more") == place(exc, "zoo_plugin")
    assert place(caught(plugin.parsing), "zoo_plug").startswith(f"in {json.decoder.__file__}")


def test_what_the_host_could_not_even_call_has_no_place() -> None:
    names: dict[str, Any] = {"__name__": "pluginhost.runner"}
    exec("def call(): (lambda: 0)(1)", names)
    exc = caught(names["call"])
    assert exc.__traceback__ is not None
    assert place(exc.with_traceback(exc.__traceback__.tb_next), "zoo_plugin") == "", "this test's own frame is left out"


def test_a_source_that_cannot_be_compiled_is_the_place(plugin: Any) -> None:
    told = place(caught(plugin.compiled), "zoo_plugin")
    assert told == "in /srv/broken.py, line 1, called from /site/zoo_plugin/inner.py, line 15"
    assert place(caught(plugin.worded), "zoo_plugin") == "in /site/zoo_plugin/inner.py, line 16"


def test_an_exception_that_lies_of_itself_has_its_place(plugin: Any) -> None:
    told = raised(caught(plugin.liar), "zoo_plugin")
    assert told == "raised Liar: <its message raised SystemExit>, in /site/zoo_plugin/inner.py, line 10"
    assert raised(caught(plugin.silent), "zoo_plugin") == "raised ValueError, in /site/zoo_plugin/inner.py, line 11"


def test_names_that_are_no_plain_text_do_no_harm(plugin: Any) -> None:
    class Evil(str):
        __slots__ = ()

        def __format__(self, spec: str) -> str:
            raise SystemExit

        __str__ = __len__ = startswith = partition = __format__  # type: ignore[assignment]

    plugin.own.__code__ = plugin.own.__code__.replace(co_filename=Evil("/site/\x1b[2J/plugin.py"))
    vars(plugin)["__name__"] = Evil("zoo_plugin")
    assert place(caught(plugin.own), "zoo_plugin").startswith("in /site/\\x1b[2J/plugin.py")


def test_a_long_message_and_long_paths_leave_room_for_the_place(plugin: Any) -> None:
    plugin.own.__code__ = plugin.own.__code__.replace(co_filename=f"/{'deep/' * 1_000}plugin.py")
    told = raised(caught(plugin.own), "zoo_plugin")
    assert told.endswith("deep/plugin.py, line 6")
    assert len(told) < 400
    told = raised(caught(plugin.long), "zoo_plugin")
    assert told.endswith("line 17")
    assert len(told) < 1_200


def test_a_traceback_of_any_length_is_looked_at_to_a_bound(plugin: Any) -> None:
    exc = caught(plugin.own)
    entry: Any = exc.__traceback__
    for _ in range(150_000):
        entry = type(entry)(entry, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    assert place(exc.with_traceback(entry), "zoo_plugin") == f"in {__file__}, line {entry.tb_lineno}"
