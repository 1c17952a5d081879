"""Bad calls: what a plugin's methods raise, return, and do to their process.

A case is a process, and most of these calls do not disturb each other. So a case has many of them: each is a method of
one bad plugin, and stands in a contract that the case brings along, with an annotation of its own. The driver makes one
call after the other; after each, the bad plugin's own `fine` and both good plugins must answer.

What no host can contain in its own process is not here: a call that ends the process, takes it down, or holds the lock
of the interpreter.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from zoo.cases import Call, Case
from zoo.deeds import HARMLESS, RAISES
from zoo.inits import ENDED, NOTE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.site_folder import SiteFolder

CASES: list[Case] = []

_DEFINITIONS = {"plain": "def", "generator": "def", "coroutine": "async def", "asynchronous generator": "async def"}
_TYPES = """
import dataclasses
from typing import *
from collections.abc import *

@dataclasses.dataclass
class Body:
    text: str
    size: int = 0
    parts: list["Body"] = dataclasses.field(default_factory=list)
"""
_CONTRACT = f"""from __future__ import annotations
from abc import abstractmethod
from pluginapi import Plugin
{_TYPES}
class Caller(Plugin):
    @abstractmethod
    def fine(self) -> str: ...
"""
_PLUGIN = f"""{NOTE}
import asyncio, sys
from pluginapi import Greeter, PluginError
from zoo_contract import Body, Caller

def depth(number, make=lambda inner: [inner]):
    found = 7
    for _ in range(number): found = make(found)
    return found

async def each(*items):
    for item in items: yield item

class Bad(Greeter, Caller):
    lang = "Bad"
    def greet(self, name): return f"bad {{name}}"
    def fine(self): return "fine"
    def shutdown(self): note("shutdown")
"""


def batch(name: str, calls: Iterable[Call], *, changes: str = "", also: str = "", **settings: object) -> None:  # fmt: skip
    """Many calls of one plugin, with some settings of it."""
    calls = tuple(calls)
    contract, plugin = _CONTRACT, _PLUGIN
    for number, call in enumerate(calls):
        method = f"    {_DEFINITIONS[call.kind]} call_{number}(self)"
        item = "yield" if call.kind == "asynchronous generator" else "..."
        contract += f"    @abstractmethod\n{method} -> {call.returns}: {item}\n"
        plugin += f"{method}:\n{indent(call.deed, ' ' * 8)}\n"

    def make(site: SiteFolder) -> None:
        site.distribution("zoo-contract", "1.0", files={"zoo_contract.py": contract})
        site.module(f"{plugin}\ndef New(): return Bad()\n")
        site.plugins["bad"] = dict(settings)

    options: dict[str, object] = {"serves": True, "probe": "never", "notes": ENDED, "changes": changes, "also": also}
    CASES.append(Case("calls", name, make, calls=calls, **options))  # type: ignore[arg-type]


def returns(name: str, annotation: str, value: str, path: str, **more: object) -> Call:
    """A call that returns what its contract does not say; the message has the path of it."""
    return Call(name, f"return {value}", "reply-wrong", returns=annotation, known=(f"returned ${path}",), **more)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- it raises
_PASSES = "raise PluginError('no')"
_CTRL_C = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**9): pass"
_LATER = "import threading, os, signal\nthreading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
_WORD = "class E(PluginError, {}): ...\nraise E('no')"
_plain = [Call(title, deed, known=("raised",)) for title, deed in RAISES.items()]
_plain += [
    Call("raises its word to the caller", _PASSES, "", "PluginError"),
    Call("raises a word of its own to the caller", "class E(PluginError): ...\nraise E('no')", "", "E"),
    Call("raises a word to the caller that ends the process", _WORD.format("SystemExit"), known=("E: no",)),
    Call("raises a word to the caller that is a Ctrl-C", _WORD.format("KeyboardInterrupt"), known=("E: no",)),
    Call("raises a group of 10,000 with a cycle of causes", "g, e = ExceptionGroup('g', [ValueError(n) for n in range(10_000)]), ValueError('e')\ng.__cause__, e.__cause__ = e, g\nraise g", known=("10000 sub-exceptions",)),
    Call("raises a group that holds itself", "inner = [ValueError('no')]\ng = ExceptionGroup('g', inner)\ng.__context__ = g\nraise ExceptionGroup('outer', [g, g]) from g"),
    Call("raises in a library", "import json\njson.loads('{')", known=("json/decoder.py, line", ", called from", "zoo_bad.py, line")),
    Call("raises in a part of its own", "exec(compile('raise ValueError(7)', '\\x1b[2J' * 5_000, 'exec'))", known=("ValueError: 7",)),
    Call("raises where __name__ is a list", "exec('raise ValueError(7)', {'__name__': []})", known=("ValueError: 7",)),
    Call("raises a class that is none", "raise 7", known=("TypeError",)),
    Call("raises while it cleans up", "try: 1 / 0\nfinally: raise SystemExit(3)", known=("SystemExit: 3",)),
    Call("exits", "sys.exit()", known=("SystemExit",)),
    Call("exits in a thread of its own, and waits", "import threading\nt = threading.Thread(target=sys.exit)\nt.start()\nt.join()\nreturn 'on'", "", "'on'"),
    Call("quits", "quit()", known=("SystemExit",)),
    Call("raises KeyboardInterrupt in a pool", "import concurrent.futures\ndef f(): raise KeyboardInterrupt\nwith concurrent.futures.ThreadPoolExecutor(1) as pool: pool.submit(f).result()", known=("KeyboardInterrupt",)),
    Call("raises KeyboardInterrupt with a traceback of another", "import types\ntry: raise KeyboardInterrupt\nexcept KeyboardInterrupt as exc: raise exc.with_traceback(types.TracebackType(None, sys._getframe(), 10**6, 1))", known=("KeyboardInterrupt",)),
    Call("raises KeyboardInterrupt in a loop of its own", "async def f(): raise KeyboardInterrupt\nasyncio.run(f())", known=("KeyboardInterrupt",)),
    Call("raises CancelledError in a running loop", "raise asyncio.CancelledError", way="loop", known=("CancelledError",)),
    Call("raises GeneratorExit in a running loop", "raise GeneratorExit", way="loop", known=("GeneratorExit",)),
    Call("cancels the task that calls it", "asyncio.current_task().cancel()\nraise asyncio.CancelledError", way="loop", known=("CancelledError",)),
    Call("runs a loop in a running loop", "asyncio.run(asyncio.sleep(0))", way="loop", known=("RuntimeError",)),
    Call("takes other arguments", "return self.call_0(1, 2, 3)", known=("TypeError",)),
    Call("calls itself for ever", "def f(): return f()\nreturn f()", known=("RecursionError",)),
    Call("runs out of memory", "return 'x' * (1 << 62)", known=("MemoryError",)),
    Call("deletes its own method", "del type(self).fine\nreturn 'deleted'", "", "'deleted'"),
    Call("asks its host when it has none", "return self.host.config", known=("AttributeError",)),
]  # fmt: skip
_plain += [
    Call("gets a person's Ctrl-C while it runs", _CTRL_C, "", "KeyboardInterrupt"),
    Call("gets a person's Ctrl-C while it sleeps", f"{_LATER}time.sleep(30)", "", "KeyboardInterrupt"),
    Call("gets a person's Ctrl-C, and cleans up", f"try:\n{indent(_CTRL_C, '    ')}\nfinally: len('')", "", "KeyboardInterrupt"),
    Call("gets a person's Ctrl-C, and raises its own", f"try:\n{indent(_CTRL_C, '    ')}\nexcept KeyboardInterrupt: raise KeyboardInterrupt", "", "KeyboardInterrupt"),
    Call("gets a person's Ctrl-C, and takes it for a failure", f"try:\n{indent(_CTRL_C, '    ')}\nexcept KeyboardInterrupt: raise SystemExit(3)", known=("SystemExit: 3",)),
    Call("gets a person's Ctrl-C in a loop of its own", f"{_LATER}asyncio.run(asyncio.sleep(30))", "", "KeyboardInterrupt"),
]  # fmt: skip
batch("what they raise", _plain)

# ------------------------------------------------------------------------------------ coroutines, and items one by one
_waiting: list[Call] = []
for _title in (
    "raises KeyboardInterrupt", "raises SystemExit(0)", "raises CancelledError with a message", "raises StopIteration",
    "raises StopAsyncIteration", "raises GeneratorExit of a text", "raises a BaseException of its own",
    "raises a group of 10,000", "raises 100 MB of line ends", "raises what repr() raises on",
):  # fmt: skip
    _deed = RAISES[_title]
    _waiting += [
        Call(f"a coroutine {_title}", f"await asyncio.sleep(0)\n{_deed}", kind="coroutine"),
        Call(f"a generator {_title}", f"yield 1\n{_deed}", kind="generator", returns="Iterator[int]"),
        Call(f"an asynchronous generator {_title}", f"yield 1\n{_deed}", kind="asynchronous generator", returns="AsyncIterator[int]"),
    ]  # fmt: skip
_waiting += [
    Call("a generator raises before its first item", "raise SystemExit(3)\nyield", kind="generator", returns="Iterable[int]"),
    Call("a generator exits as it ends", "try: yield 1\nfinally: raise SystemExit(3)", kind="generator", returns="Generator[int]"),
    Call("an iterator raises", "class I:\n    __iter__ = lambda self: self\n    def __next__(self): raise KeyboardInterrupt\nreturn I()", kind="generator", returns="Iterator[int]"),
    Call("an iterator has a class that raises", "class M(type):\n    def __getattribute__(cls, name): raise SystemExit(3)\nclass I(metaclass=M):\n    def __next__(self): return 1\nreturn I()", kind="generator", returns="Iterator[int]"),
    Call("an iterator is a generator that is running", "def f(): yield next(g)\ng = f()\nreturn g", kind="generator", returns="Iterator[int]", known=("ValueError",)),
    Call("a generator hands out what raises when it is printed", "class N:\n    def __repr__(self): return 'N'\n    __del__ = lambda self: None\nyield N()", "", "[N]", kind="generator", returns="Iterator[object]"),
    Call("a generator answers its word to the caller", f"yield 1\n{_PASSES}", "", "PluginError", kind="generator", returns="Iterator[int]"),
    Call("a generator gets a person's Ctrl-C", f"yield 1\n{_CTRL_C}", "", "KeyboardInterrupt", kind="generator", returns="Iterator[int]"),
    Call("a coroutine gets a person's Ctrl-C", f"{_LATER}await asyncio.sleep(30)", "", "KeyboardInterrupt", kind="coroutine"),
    Call("a coroutine is cancelled by another's end", "other = asyncio.ensure_future(asyncio.sleep(30))\nasyncio.get_running_loop().call_soon(other.cancel)\nawait other", kind="coroutine", known=("CancelledError",)),
    Call("a coroutine waits for what is none", "await 7", kind="coroutine", known=("TypeError",)),
    Call("a coroutine leaves a task that goes on", "self.kept = asyncio.ensure_future(asyncio.sleep(30))\nreturn 'left'", "", "'left'", kind="coroutine"),
    Call("a coroutine stops its loop", "asyncio.get_running_loop().stop()\nreturn 'stopped'", "", "'stopped'", kind="coroutine"),
    Call("a coroutine raises in a group of tasks", "async def f(): raise ValueError('no')\nasync with asyncio.TaskGroup() as tasks: tasks.create_task(f())", kind="coroutine", known=("1 sub-exception",)),
    Call("a coroutine takes too long, by its own measure", "async with asyncio.timeout(0.01): await asyncio.sleep(30)", kind="coroutine", known=("TimeoutError",)),
    Call("an asynchronous generator exits as it ends", "try: yield 1\nfinally: raise SystemExit(3)", kind="asynchronous generator", returns="AsyncIterator[int]"),
]  # fmt: skip
batch("what they raise while others wait", _waiting)

# --------------------------------------------------------------------------------------------------------- it returns
_DEEP = "is nested deeper than 64"
_LONE = "is a text with a lone surrogate"
_replies = [
    returns("NaN for a number", "int", "float('nan')", " is a float, not a int"),
    returns("a text for a number", "int", "'7'", " is a str, not a int"),
    returns("a number of 5,000 digits", "int", "10**5000", " is a number of more than 64 bits"),
    returns("a number of 5,000 digits for a text", "str", "10**5000", " is a int, not a str"),
    returns("a number of 5,000 digits somewhere", "object", "{'n': [10**5000]}", "['n'][0] is a number of more than"),
    returns("a number of its own for a text", "str", "type('I', (int,), {'__str__': lambda s: 1 / 0})(7)", " is a I, not a str"),
    returns("bytes for a text", "str", "b'no'", " is a bytes, not a str"),
    returns("a lone surrogate", "str", "'no \\udcff'", f" {_LONE}"),
    returns("a lone surrogate somewhere", "Any", "[{'no': ('\\ud800',)}]", f"[0]['no'][0] {_LONE}"),
    returns("a lone surrogate for a key", "dict[str, int]", "{'\\ud800': 1}", f".keys()[0] {_LONE}"),
    returns("a set for a list", "list[int]", "{1}", " is a set, not a list[int]"),
    returns("a set of sets", "set[frozenset[int]]", "{frozenset({'no'})}", "[0][0] is a str, not a int"),
    returns("a tuple for a list", "list[int]", "(1,)", " is a tuple, not a list[int]"),
    returns("a tuple that is too short", "tuple[int, str]", "(1,)", " is a tuple of 1"),
    returns("nothing", "str", "None", " is a NoneType, not a str"),
    returns("something for nothing", "None", "0", " is a int, not a None"),
    returns("neither of two", "int | str", "[7]", " is a list, not int or str"),
    returns("none of some words", "Literal['a', 'b']", "'c'", " is a str that is none of"),
    returns("lists 65 deep", "Any", "depth(65)", "[0][0][0]"),
    returns("lists 100,000 deep", "object", "depth(100_000)", "[0][0][0]"),
    returns("lists 100,000 deep where one is", "list[list[int]]", "depth(100_000)", "[0][0] is a list, not a int"),
    returns("tables 100,000 deep", "dict[str, Any]", "depth(100_000, lambda inner: {'x' * 50: inner})", "…"),
    returns("a list that holds itself", "list[Any]", "[(found := []), found.append(found)]", "[0]"),
    returns("what holds too much, twice and again", "list[Any]", "[depth(50, lambda inner: [inner, inner]), '\\ud800']", f"[1] {_LONE}"),
    returns("a list of its own that hides what it holds", "list[int]", "type('L', (list,), {'__iter__': lambda self: iter(()), '__len__': lambda self: 0})(['no'])", "[0] is a str, not a int"),
    returns("a table of its own that raises", "dict[str, int]", "type('D', (dict,), {'items': lambda self: 1 / 0, '__iter__': lambda self: 1 / 0})(no='no')", "['no'] is a str"),
    returns("an object with a wrong field", "Body", "Body(7)", ".text is a int, not a str"),
    returns("an object with a wrong field within", "list[Body]", "[Body('x'), Body('y', 0, [Body('z', 'no')])]", "[1].parts[0].size is a str"),
    returns("an object without its fields", "Body", "object.__new__(Body)", ".text is missing"),
    returns("a table for an object", "Body", "{'text': 'x'}", " is a dict, not a"),
    returns("what pretends to be an object", "Body", "type('B', (), {'__class__': property(lambda self: Body)})()", " is a B, not a"),
    returns("what is of an enormous class name", "int", "type('x' * 100_000, (), {})()", " is a xxx"),
    returns("itself", "str", "self", " is a Bad, not a str"),
    returns("a coroutine that nobody waits for", "str", "asyncio.sleep", " is a function, not a str"),
    returns("a generator for a list", "list[int]", "(n for n in 'no')", " is a generator, not a list[int]"),
    returns("a list for an iterator", "Iterator[int]", "[1]", " is a list, not a"),
    returns("a list with a wrong item for what is gone through", "Iterable[int]", "[1, 'no']", "[1] is a str", kind="plain"),
    Call("returns a class that raises", "class B(Body):\n    text = property(lambda self: 1 / 0)\n    def __init__(self): pass\nreturn B()", returns="Body", known=("ZeroDivisionError",)),
    Call("hands out a wrong item", "yield 1\nyield 'no'", "reply-wrong", kind="generator", returns="Iterator[int]", known=("returned $[1] is a str, not a int",)),
    Call("hands out items 100,000 deep", "yield depth(100_000)", "reply-wrong", kind="generator", returns="Iterator[Any]", known=(_DEEP,)),
    Call("hands out a wrong item, not at once", "async for item in each(1, 'no'): yield item", "reply-wrong", kind="asynchronous generator", returns="AsyncIterator[int]", known=("returned $[1] is a str",)),
    Call("is a coroutine that returns something else", "return {1}", "reply-wrong", kind="coroutine", returns="list[int]", known=("returned $ is a set",)),
    Call("returns what is right", "return [Body('x', 7, [Body('y')])]", "", "[Body(text='x', size=7, parts=[Body(text='y', size=0, parts=[])])]", returns="list[Body]"),
    Call("hands out what is right", "yield from (1, 2)", "", "[1, 2]", kind="generator", returns="Iterator[int]"),
    Call("returns anything where anything will do", "return {1, b'x'} and 7", "", "7", returns="Any"),
    Call("raises while replies are checked", RAISES["raises SystemExit(0)"]),
]  # fmt: skip
batch("what they return, where replies are checked", _replies, check_replies=True)
batch(
    "what they return, where nobody looks",
    [
        Call("returns something else", "return {1}", "", "{1}"),
        Call("returns a lone surrogate", "return '\\udcff'", "", "'\\udcff'"),
        Call("hands out something else", "yield 'no'", "", "['no']", kind="generator", returns="Iterator[int]"),
    ],
)

# ------------------------------------------------------------------------------------- what it does to its process
# The host does not look at the process after each call, and tells nothing of this; an isolated plugin cannot do it.
_on = "\nreturn 'on'"
batch(
    "what they do to their process",
    [
        Call("prints megabytes", "for _ in range(50): print('zoo ' * 20_000)" + _on, "", "'on'"),
        Call("prints megabytes to the descriptors", HARMLESS["prints megabytes to the descriptors"] + _on, "", "'on'"),
        Call("prints that all failed", "print('[call-failed] no\\nhint: no', file=sys.stderr)" + _on, "", "'on'"),
        Call("leaks a descriptor", "self.kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]" + _on, "", "'on'"),
        Call("goes to another folder", "os.chdir('/')" + _on, "", "'on'"),
        Call("goes to a folder that is gone", "import tempfile\nwith tempfile.TemporaryDirectory() as folder: os.chdir(folder)\nos.chdir('/')" + _on, "", "'on'"),
        Call("sets a variable", "os.environ['ZOO'] = 'x'" + _on, "", "'on'"),
        Call("closes standard output", "sys.stdout.close()" + _on, "", "'on'"),
        Call("prints where there is no output", "print('no')", known=("ValueError",)),
        Call("puts another sys.stderr", "import io\nsys.stderr = io.StringIO()" + _on, "", "'on'"),
        Call("takes sys.stdin away", "sys.stdin = None\ninput()", known=("RuntimeError",)),
        Call("deletes a good one's module", "del sys.modules['zoo_a_good']" + _on, "", "'on'"),
        Call("deletes its own module", "del sys.modules['zoo_bad']" + _on, "", "'on'"),
        Call("puts a module in the place of asyncio", "sys.modules['asyncio'] = type(sys)('asyncio')\ndel sys.modules['asyncio']" + _on, "", "'on'"),
        Call("silences the host's log", "import logging\nlogging.disable()" + _on, "", "'on'"),
        Call("handles Ctrl-C with what raises when it is compared", "import signal\nclass H:\n    def __call__(self, *args): pass\n    def __eq__(self, other): raise SystemExit(3)\n    __hash__ = __eq__\nsignal.signal(signal.SIGINT, H())" + _on, "", "'on'"),
        Call("raises KeyboardInterrupt under such a handler", "raise KeyboardInterrupt", known=("KeyboardInterrupt",)),
        Call("has Ctrl-C as it was", "import signal, _signal\n_signal.signal(signal.SIGINT, signal.default_int_handler)" + _on, "", "'on'"),
        Call("raises under a recursion limit of its own", "before = sys.getrecursionlimit()\nsys.setrecursionlimit(100_000)\ntry:\n    def f(n): return f(n - 1) if n else 1 / 0\n    f(5_000)\nfinally: sys.setrecursionlimit(before)", known=("ZeroDivisionError",)),
        Call("has its class raise at each access", "class M(type(type(self))):\n    def __getattribute__(cls, name): raise SystemExit(3)\nreturn 'on'", "", "'on'"),
        Call("raises when it is traced", "sys.settrace(lambda *args: 1 / 0)\nf = lambda: 7\nf()", known=("ZeroDivisionError",)),
        Call("starts a thread that raises, and waits", HARMLESS["starts a thread that raises, and waits"] + _on, "", "'on'"),
        Call("starts a thread that goes on", "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()" + _on, "", "'on'"),
    ],
    changes="logging, environment, folder, streams",
)  # fmt: skip

# ------------------------------------------------------------------------------------- it takes too long, or too often
_HANGS = {
    "sleeps": "time.sleep(3_600)",
    "waits for an event": "threading.Event().wait()",
    "waits for a lock of its own": "lock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "waits at a pipe": "os.read(os.pipe()[0], 1)",
    "waits for a loop of asyncio": "asyncio.run(asyncio.sleep(3_600))",
    "sleeps, and catches all": "while True:\n    try: time.sleep(0.05)\n    except BaseException: pass",
    "sleeps deep down": "def f(n): f(n - 1) if n else time.sleep(3_600)\nf(500)",
}
batch(
    "calls that are given up when their time is over",
    [
        *(Call(title, f"import threading\n{deed}", "call-timeout", known=("0.3",)) for title, deed in _HANGS.items()),
        Call("is a coroutine that sleeps", "await asyncio.sleep(3_600)", "call-timeout", kind="coroutine"),
        Call("raises in time", "raise SystemExit(0)"),
        Call("returns in time", "return 'on'", "", "'on'"),
    ],
    call_timeout=0.3, on_timeout="abandon", breaker_failures=1_000, also="call-timeout",
)  # fmt: skip
batch(
    "calls that are told when their time is over",
    [
        Call("returns late", "time.sleep(0.6)\nreturn 'late'", "", "'late'", goes_on=False),
        Call("is called soon after", "return 'on'", "breaker-open", goes_on=False),
        Call("is called some time after", "return 'on'", "", "'on'", wait=1.6),
    ],
    call_timeout=0.3, on_timeout="report", breaker_seconds=1.5, also="call-timeout",
)  # fmt: skip
batch(
    "calls that fail one after the other",
    [
        *(Call(f"fails the {nth} time", "raise SystemExit(0)", goes_on=False) for nth in ("first", "second", "third")),
        Call("is called soon after", "return 'on'", "breaker-open", goes_on=False),
        Call("is tried, and fails", "raise SystemExit(0)", goes_on=False, wait=1.6),
        Call("is called soon after that", "return 'on'", "breaker-open", goes_on=False),
        Call("is tried, and answers", "return 'on'", "", "'on'", wait=1.6),
        Call("fails once more", "raise SystemExit(0)"),
    ],
    breaker_failures=3, breaker_seconds=1.5,
)  # fmt: skip
