from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PLUGIN = """
import functools, threading

class Base:
    pass

class Plugin(Base):
    def __init__(self):
        self.me = self

    @property
    def nothing(self):
        raise SystemError

    @functools.cached_property
    def again(self):
        return self

    def run(self, *_):
        return __class__

    def wait(self, begun, end):
        begun.set()
        end.wait()

    def fail(self):
        raise ValueError

class Hostile(type):
    def __getattribute__(cls, name):
        raise SystemExit
    def __eq__(cls, other):
        raise SystemExit
    def __hash__(cls):
        return 1
    def __repr__(cls):
        raise SystemExit

class Evil(Plugin, metaclass=Hostile):
    def __getattribute__(self, name):
        raise SystemExit
    __repr__ = __eq__ = __bool__ = __len__ = __iter__ = lambda *args: exit()
    __hash__ = lambda self: 2
    @property
    def __dict__(self):
        raise SystemExit

def helper(begun, end):
    begun.set()
    end.wait()
"""

APPLICATION = """
import gc, sys, threading, types, weakref
sys.path.insert(0, {folder!r})
from pluginhost.leaks import holders, is_gone
application = types.ModuleType("application")
sys.modules["application"] = application
begun, end = threading.Event(), threading.Event()

def use():
    import the_plugin
    {use}
    return the_plugin.{name}

def unload():
    cls = use()
    del sys.modules["the_plugin"]
    reference = weakref.ref(cls)
    gc.collect()
    print(*holders([reference]), sep="\\n")
    return reference

reference = unload()
print(is_gone(reference))
end.set()
"""

LIBRARY = """
import functools, threading
registry, cache, things = [], {}, set()

class Service:
    pass

class Slotted:
    __slots__ = ("value",)

service = Service()
service.inner = Slotted()
@functools.singledispatch
def show(value): ...

@functools.lru_cache
def cached(value): ...

def closure(value):
    return lambda: value
"""


def told(folder: Path, use: str, name: str = "Plugin") -> tuple[list[str], bool]:
    """What is said after the application used the plugin, and whether the class was gone when nothing was left of that."""
    (folder / "the_plugin.py").write_text(PLUGIN)
    (folder / "library.py").write_text(LIBRARY)
    use = textwrap.indent(textwrap.dedent(use).strip(), "    ").strip()
    script = APPLICATION.format(folder=str(folder), use=use, name=name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
    assert done.stderr == ""
    *lines, is_gone = done.stdout.splitlines()
    return [line for line in lines if line], is_gone == "True"


HOLDERS = {
    "a list": ("import library; library.registry.append(the_plugin.Plugin)", "module library, attribute registry[0]"),
    "an instance in a list": (
        "import library; library.registry.append([the_plugin.Plugin()])",
        "module library, attribute registry[0][0] (an instance)",
    ),
    "an item of a dict": (
        "import library; library.cache['x'] = {7: (the_plugin.Plugin,)}",
        "module library, attribute cache['x'][7][0]",
    ),
    "a key": ("import library; library.cache[the_plugin.Plugin] = 1", "module library, attribute cache (a key)"),
    "a set": ("import library; library.things.add(the_plugin.Plugin)", "module library, attribute things (an item)"),
    "a method": (
        "import library; library.cache['x'] = the_plugin.Plugin().run",
        "module library, attribute cache['x'].__self__ (an instance)",
    ),
    "singledispatch": (
        "import library; library.show.register(the_plugin.Plugin, print)",
        "module library, attribute show.registry",
    ),
    "copyreg": (
        "import copyreg; copyreg.dispatch_table[the_plugin.Plugin] = print",
        "module copyreg, attribute dispatch_table (a key)",
    ),
    "a logging handler": (
        """
        import logging
        class Handler(the_plugin.Plugin, logging.Handler):
            def __init__(self): logging.Handler.__init__(self)
        logging.root.addHandler(Handler())
        """,
        "module logging, attribute root.handlers[0]",
    ),
    "an attribute": (
        "import library; library.service.plugin = the_plugin.Plugin()",
        "module library, attribute service.plugin (an instance)",
    ),
    "a slot": (
        "import library; library.service.inner.value = the_plugin.Plugin",
        "module library, attribute service.inner.value",
    ),
    "lru_cache": (
        "import library; library.cached(the_plugin.Plugin)",
        "module library, attribute cached (a functools._lru_cache_wrapper)",
    ),
    "a thread's own variable": (
        "import library; library.local = threading.local(); library.local.kept = [the_plugin.Plugin]",
        "module library, attribute local (a _thread._local)",
    ),
    "an exit function": (
        "import atexit, functools; atexit.register(functools.partial(len, [the_plugin.Plugin]))",
        "the exit function len",
    ),
    "a closure": (
        "import library; library.call = library.closure(the_plugin.Plugin)",
        "module library, attribute call.__closure__[0].cell_contents",
    ),
    "a partial": (
        "import functools, library; library.call = functools.partial(print, the_plugin.Plugin)",
        "module library, attribute call.args[0]",
    ),
    "an exception": (
        """
        import library
        try:
            the_plugin.Plugin().fail()
        except ValueError as exc:
            library.error = exc
        """,
        "module library, attribute error.__traceback__",
    ),
    "a module that imported it": (
        "import library; library.the_plugin = the_plugin",
        "module library, attribute the_plugin.Plugin",
    ),
    "a function of its module": (
        "import library; library.registry.append(the_plugin.helper)",
        "module library, attribute registry[0].__globals__['Plugin']",
    ),
    "a subclass": (
        "import library; library.Sub = type('Sub', (the_plugin.Plugin,), {})",
        "module library, attribute Sub",
    ),
    "a thread in its method": (
        "threading.Thread(target=the_plugin.Plugin().wait, args=(begun, end), name='worker').start(); begun.wait()",
        f"function Plugin.wait in {{folder}}/the_plugin.py, line {PLUGIN[: PLUGIN.index('end.wait()')].count(chr(10)) + 1}, of the thread worker",
    ),
    "a thread in its module": (
        "threading.Thread(target=the_plugin.helper, args=(begun, end), name='worker').start(); begun.wait()",
        "function helper in {folder}/the_plugin.py, line ",
    ),
    "a variable of a thread": (
        """
        def work(held):
            held = [held()]
            begun.set()
            end.wait()
        threading.Thread(target=work, args=[the_plugin.Plugin], name="worker").start()
        begun.wait()
        """,
        "variable held of the function use.<locals>.work in <string>, line ",
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_holder_is_told(tmp_path: Path, holder: str) -> None:
    use, expected = HOLDERS[holder]
    lines, is_gone = told(tmp_path, use)
    assert any(line.startswith(expected.format(folder=tmp_path)) for line in lines), lines
    assert all(len(line) <= 200 for line in lines)
    assert not is_gone


def test_a_function_that_is_registered_is_told_of_a_module_with_many(tmp_path: Path) -> None:
    use = """
        import library
        exec("\\n".join(f"def function_{number}(): pass" for number in range(500)), vars(the_plugin))
        library.registry.append(the_plugin.function_250)
    """
    lines, _ = told(tmp_path, use)
    assert lines == ["module library, attribute registry[0].__globals__['Plugin']"]


@pytest.mark.parametrize(
    "use", ["pass", "plugin = the_plugin.Plugin(); plugin.again", "import library; library.cache.clear()"]
)
@pytest.mark.parametrize("name", ["Plugin", "Base", "Hostile", "Evil"])
def test_nobody_is_told_where_nobody_holds_it(tmp_path: Path, use: str, name: str) -> None:
    assert told(tmp_path, use, name) == ([], True)


def test_nothing_of_the_plugin_runs(tmp_path: Path) -> None:
    use = "import library; library.things = [the_plugin.Evil()]; library.cache[2] = {the_plugin.Evil: 1}"
    lines, is_gone = told(tmp_path, use, "Evil")
    assert lines == ["module library, attribute cache[2] (a key)", "module library, attribute things[0] (an instance)"]
    assert not is_gone


def test_what_only_c_holds_is_told_by_its_types(tmp_path: Path) -> None:
    use = "import functools, os; os.register_at_fork(before=functools.partial(len, [the_plugin.Plugin]))"
    assert told(tmp_path, use) == (["a list held by a tuple held by a functools.partial held by a list"], False)


def test_many_holders_are_cut(tmp_path: Path) -> None:
    use = "import library; library.registry += [the_plugin.Plugin() for _ in range(20000)]; library.cache['x' * 500] = library.things = [the_plugin.Plugin]"
    lines, _ = told(tmp_path, use)
    assert 2 <= len(lines) <= 5
    assert any("registry[" in line for line in lines), lines
    assert any("things[0]" in line for line in lines), lines


def test_a_function_keeps_its_variables_no_longer_for_having_been_looked_at(tmp_path: Path) -> None:
    use = """
        class Thing: pass
        thing = Thing()
        holders([weakref.ref(Thing)])
        gone = weakref.ref(thing)
        del thing
        assert is_gone(gone)
    """
    assert told(tmp_path, use) == ([], True)
