from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from concurrent.futures import thread
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pluginhost import leftovers
from pluginhost.leftovers import Old

PLUGIN = """
import threading, typing

class Failure(Exception):
    pass

class Caution(Warning):
    pass

class Hostile(type):
    __getattribute__ = __eq__ = __repr__ = lambda cls, *_: exit("asked")
    __hash__ = lambda cls: 1

class Plugin:
    def flush(self, *_):
        pass

    def again(self, other: typing.Optional["Plugin"]) -> typing.Optional[Failure]:
        return None

class Evil(Plugin, metaclass=Hostile):
    pass

class Callable:
    def __call__(self, *_):
        pass
    __eq__ = __ne__ = __repr__ = __bool__ = lambda self, *_: exit("asked")
    __hash__ = None

class Thread(threading.Thread):
    def start(self):
        super().start()
        type(self).is_alive = type(self).__eq__ = type(self).__repr__ = lambda self, *_: exit("asked")
        type(self).name = type(self).ident = property(type(self).is_alive)

def flush(*_):
    pass

def find(name):
    return None

def loop(begun, end):
    begun.set()
    end.wait()

typing.get_type_hints(Plugin.again)
"""

SCRIPT = """
import abc, atexit, codecs, contextvars, copyreg, functools, gc, importlib, json, logging, queue, signal, sys
import threading, types, warnings, weakref
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[1])
from pluginhost import leaks, leftovers

application = sys.modules["application"] = types.ModuleType("application")
application.listeners, application.pools = [], []
variable = contextvars.ContextVar("kept")
logged = logging.getLogger("application.part")
begun, end = threading.Event(), threading.Event()

@functools.singledispatch
def show(value): ...
application.show = show

class Base(abc.ABC): ...

class Handler(logging.Handler):
    def __init__(self, plugin):
        super().__init__()
        self.plugin = plugin

def nothing(p, plugin): p.kept = plugin
def exit_function(p, plugin): atexit.register(p.flush)
def exit_method(p, plugin): atexit.register(plugin.flush)
def exit_partial(p, plugin): atexit.register(functools.partial(p.flush, 1))
def exit_object(p, plugin): atexit.register(p.Callable())
def signal_handler(p, plugin): signal.signal(signal.SIGTERM, p.flush)
def sys_hook(p, plugin): sys.excepthook = p.flush
def threading_hook(p, plugin): threading.excepthook = plugin.flush
def root_handler(p, plugin): logging.root.addHandler(Handler(plugin))
def logger_filter(p, plugin): logged.addFilter(p.flush)
def copyreg_table(p, plugin): copyreg.pickle(p.Failure, repr)
def singledispatch(p, plugin): show.register(p.Failure, repr)
def abc_register(p, plugin): Base.register(p.Plugin)
def codec(p, plugin): codecs.register(p.find)
def codec_error(p, plugin): codecs.register_error("zoo.handler", p.flush)
def warning(p, plugin): warnings.showwarning = p.flush
def warning_filter(p, plugin): warnings.simplefilter("ignore", p.Caution)
def finalizer(p, plugin): weakref.finalize(application, p.flush)
def context(p, plugin): variable.set([p.Plugin])
def listener(p, plugin): application.listeners.append(plugin.flush)
def submodule(p, plugin): application.helper = sys.modules["zoo_old.helper"]
def thread(p, plugin):
    threading.Thread(target=p.loop, args=(begun, end), name="worker-1", daemon=True).start()
    begun.wait()
def thread_object(p, plugin):
    p.Thread(target=queue.Queue().get, daemon=True).start()
def pool(p, plugin):
    kept = ThreadPoolExecutor(thread_name_prefix="zoo")
    application.pools.append(kept)
    kept.submit(int).result()
def twenty(p, plugin):
    for number in range(20):
        setattr(application, f"kept_{number}", p.Failure())

def generation(number, leave):
    leaks.clear_caches()
    modules = {name: importlib.import_module(name) for name in ("zoo_old", "zoo_old.plugin", "zoo_old.helper")}
    before = threading.enumerate()
    leave(modules["zoo_old.plugin"], modules["zoo_old.plugin"].Evil())
    threads = [each for each in threading.enumerate() if not any(each is other for other in before)]
    modules["zoo_old.no_module"] = modules["zoo_old.plugin"].Callable()
    for name in modules:
        sys.modules.pop(name, None)
    path = "/site/zoo_old-1.0.dist-info"
    return leftovers.Old.of(number, "old (zoo-old 1.0)", path, modules["zoo_old.plugin"].Evil, modules, threads)

def pins():
    # Of nine generations that are held, of ten, and of ten once nothing holds them.
    olds = [generation(number, listener) for number in range(9)]
    nine = leftovers.pinned(olds)
    olds.append(generation(10, listener))
    ten = leftovers.pinned(olds)
    application.listeners.clear()
    return [each and each.to_dict() for each in (nine, ten, leftovers.pinned(olds))]

def main():
    told, olds = {}, {}
    for number, leave in enumerate(globals()[name] for name in sys.argv[2].split()):
        old = olds[leave.__name__] = generation(number, leave)
        leaks.clear_caches()
        importlib.import_module("zoo_old.plugin").kept = [importlib.import_module("zoo_old.helper")]
        count = atexit._ncallbacks()
        told[leave.__name__] = [each.to_dict() for each in leftovers.find([old])]
        assert atexit._ncallbacks() == count
        assert old.is_gone() is (not told[leave.__name__])
        for name in [name for name in sys.modules if name.startswith("zoo_old")]:
            del sys.modules[name]
    end.set()
    while any(each.name == "worker-1" for each in threading.enumerate() if type(each) is threading.Thread):
        pass
    told["ended"] = [each.to_dict() for each in leftovers.find([olds["thread"]])]
    told["pinned"] = pins()
    return told

if __name__ == "__main__" and len(sys.argv) > 2:
    print(json.dumps(main()))
    atexit._clear()
"""

_LINE = PLUGIN[: PLUGIN.index("end.wait()")].count("\n") + 1
LEFT = {
    "exit_function": "the exit function zoo_old.plugin.flush",
    "exit_method": "the exit function zoo_old.plugin.Plugin.flush",
    "exit_partial": "the exit function zoo_old.plugin.flush",
    "signal_handler": "the handler of signal 15, zoo_old.plugin.flush",
    "sys_hook": "module sys, attribute excepthook",
    "threading_hook": "module threading, attribute excepthook",
    "root_handler": "module logging, attribute root.handlers[0].plugin (an instance)",
    "logger_filter": "module __main__, attribute logged.filters[0]",
    "copyreg_table": "module copyreg, attribute dispatch_table (a key)",
    "singledispatch": "module application, attribute show.registry (a mappingproxy) (a key)",
    "codec": "the codecs' search function zoo_old.plugin.find",
    "codec_error": "the codecs' error handler zoo.handler",
    "warning": "module warnings, attribute showwarning",
    "warning_filter": "module warnings, attribute filters[0][2]",
    "finalizer": "module weakref, attribute finalize._registry[a weakref.finalize].func",
    "context": "the context variable kept",
    "listener": "module application, attribute listeners[0]",
    "submodule": "module application, attribute helper",
    "thread": f"function loop in {{folder}}/zoo_old/plugin.py, line {_LINE}, of the thread worker-1",
    "thread_object": f"function Condition.wait in {threading.__file__}, line *, of the thread Thread-1 (get)",
    "pool": f"function _worker in {thread.__file__}, line *, of the thread zoo_0",
    "exit_object": "a zoo_old.plugin.Callable",  # as its `__eq__` raises, Python does not say where it is
}
NOTHING = ["nothing", "abc_register"]  # that holds weakly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leftovers")
    (folder / "zoo_old").mkdir()
    (folder / "zoo_old" / "__init__.py").write_text("")
    (folder / "zoo_old" / "plugin.py").write_text(PLUGIN)
    (folder / "zoo_old" / "helper.py").write_text("def helper(): ...\n")
    (folder / "script.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, list[dict[str, str]]]:
    """What is told of generations that left one thing behind each, all in one process, by what that is."""
    names = " ".join([*NOTHING, *LEFT, "twenty"])
    command = [sys.executable, "script.py", str(folder), names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    told: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("left", LEFT)
def test_what_is_left_is_told_with_who_holds_it(told: dict[str, list[dict[str, str]]], folder: Path, left: str) -> None:
    [finding] = told[left]
    assert (finding["code"], finding["severity"]) == ("leak", "warning")
    assert finding["path"] == "/site/zoo_old-1.0.dist-info"
    number = [*NOTHING, *LEFT].index(left)
    start = f"old (zoo-old 1.0): something of generation {number} is still there: "
    holder = LEFT[left].format(folder=folder)
    assert re.sub(r"line \d+", "line *", finding["message"]) == start + re.sub(r"line \d+", "line *", holder)
    if left == "thread":
        assert finding["message"] == start + holder


@pytest.mark.parametrize("left", NOTHING)
def test_nothing_is_told_of_a_generation_that_is_gone(told: dict[str, list[dict[str, str]]], left: str) -> None:
    """Its own objects refer to it, and a new generation of the same modules has taken its place."""
    assert told[left] == []


def test_a_thread_that_ended_is_not_told(told: dict[str, list[dict[str, str]]]) -> None:
    assert told["ended"] == []


def test_at_most_five_are_told_of_a_generation(told: dict[str, list[dict[str, str]]]) -> None:
    messages = {each["message"].partition(" is still there: ")[2] for each in told["twenty"]}
    assert len(messages) == 5
    assert all(message.startswith("module application, attribute kept_") for message in messages)


def test_many_generations_that_are_there_are_told_as_pinned(told: dict[str, list[Any]]) -> None:
    nine, ten, gone = told["pinned"]
    assert nine is gone is None
    assert (ten["code"], ten["severity"]) == ("generations-pinned", "warning")
    assert ten["message"] == "old (zoo-old 1.0): 10 of its old generations are still in memory"


def test_a_call_that_is_about_to_leave_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as ended, and its thread did not get its turn since."""
    held = [type("Some", (), {})]
    old = Old.of(1, "some (zoo-some 1.0)", "", held[0], {}, [])
    monkeypatch.setattr(leftovers, "time", SimpleNamespace(sleep=lambda seconds: seconds and held.clear()))
    assert leftovers.find([old]) == []
    assert not held
