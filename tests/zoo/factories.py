"""Bad plugins whose `New()` cannot be called, does what it should not, or returns what it should not."""

from __future__ import annotations

from textwrap import indent

from zoo.cases import BODY, CLASS, HEAD, NEW, Case, Make
from zoo.deeds import ALSO, DEEDS, HANG, MEMORY, RAISES, STAGES, needs
from zoo.imports import FIT, UNFIT

CASES: list[Case] = []


def add(name: str, make: Make | str, code: str = "", stage: str = "", **more: object) -> None:
    """A plugin, by its module's source or by what damages it."""
    made = (lambda site: site.module(make)) if isinstance(make, str) else make
    options: dict[str, object] = {"serves": code in ("", "process-changed", "work-begun"), **more}
    CASES.append(Case("new", name, made, code, stage, **options))  # type: ignore[arg-type]


def inside(deed: str) -> str:
    """Returns a module whose factory does it and then makes the plugin."""
    return f"{CLASS}def New():\n{indent(deed, '    ')}\n    return Bad()\n"


# ------------------------------------------------------------------------------------------------------ what New() does
# Where deeds differ by what they touch alone, some of them are enough here: `imports` has them all.
for _title, _deed in [*RAISES.items()][::5]:
    add(_title, inside(_deed), "factory-failed", "new", needs=needs(_deed))
for _title, _deed in MEMORY.items():
    add(_title, inside(_deed), "memory-exhausted", "probe")
for _code, _deeds in DEEDS.items():
    for _title, _deed in [*_deeds.items()][:: 6 if len(_deeds) > 15 else 1]:
        add(
            _title,
            inside(_deed),
            _code,
            STAGES[_code],
            needs=needs(_deed),
            also=ALSO.get(_title, ""),
            probe_timeout=HANG if _code in ("probe-hung", "exit-disturbed") else 20.0,
        )

# ------------------------------------------------------------------------------------------------- what New cannot take
for _title, _new in {
    "one argument": "def New(host): return Bad()",
    "two arguments": "def New(host, config): return Bad()",
    "seven arguments": "def New(a, b, c, d, e, f, g): return Bad()",
    "an argument before a default": "def New(host, config=None): return Bad()",
    "an argument by position alone": "def New(host, /): return Bad()",
    "an argument by keyword alone": "def New(*, host): return Bad()",
    "two arguments by keyword alone": "def New(*args, host, config, **named): return Bad()",
    "an argument, as a lambda": "New = lambda host: Bad()",
    "an argument, as a class": "class New(Bad):\n    def __init__(self, host): ...",
    "an argument by keyword, as a class": "class New(Bad):\n    def __init__(self, *, host): ...",
    "an argument for __new__, as a class": "class New(Bad):\n    def __new__(cls, host): return super().__new__(cls)",
    "an argument for its metaclass, as a class": "class M(type(Bad)):\n    def __call__(cls, host): return super().__call__()\nclass New(Bad, metaclass=M): ...",
    "an argument, as a dataclass": "import dataclasses\n@dataclasses.dataclass\nclass New(Bad):\n    host: object",
    "an argument, as a callable instance": "class F:\n    def __call__(self, host): return Bad()\nNew = F()",
    "an argument, as a bound method": "class F:\n    def new(self, host): return Bad()\nNew = F().new",
    "an argument, as a function of a class": "class F:\n    def new(self): return Bad()\nNew = F.new",
    "an argument, as a class method": "class F:\n    @classmethod\n    def new(cls, host): return Bad()\nNew = F.new",
    "an argument, as a partial": "import functools\nNew = functools.partial(lambda a, b: Bad(), 1)",
    "an argument, as a builtin": "New = len",
    "an argument, as a coroutine function": "async def New(host): return Bad()",
    "an argument, as a generator function": "def New(host): yield Bad()",
    "an argument of an enormous name": "exec('def New(' + 'h' * 100_000 + '): return Bad()')",
    "200 arguments": "exec('def New(' + ', '.join(f'a{n}' for n in range(200)) + '): return Bad()')",
    "an argument, by its annotations too": "def New(host: 'nothing.of[that') -> 'kind': return Bad()",
}.items():
    add(f"needs {_title}", f"{CLASS}{_new}\n", "factory-arguments", "new")
for _title, _new in {
    "*args and **named": "def New(*args, **named): return Bad()",
    "defaults": "def New(host=None, /, config=None, *, debug=False): return Bad()",
    "defaults that cannot be printed": "class N:\n    def __repr__(self): raise SystemExit(3)\n    __eq__ = __bool__ = __repr__\n    __hash__ = None\ndef New(host=N(), *, config=N()): return Bad()",
    "*args, as a lambda": "New = lambda *args: Bad()",
    "a class": "New = Bad",
    "a class with a default __init__": "class New(Bad):\n    def __init__(self, host=None): self.host = host",
    "a class with a metaclass that fills in": "class M(type(Bad)):\n    def __call__(cls): return super().__call__(7)\nclass New(Bad, metaclass=M):\n    def __init__(self, host): ...",
    "a partial": "import functools\nNew = functools.partial(lambda a, *, b: Bad(), 1, b=2)",
    "a callable instance": "class F:\n    def __call__(self): return Bad()\nNew = F()",
    "a callable instance with a __getattr__ that raises": "class F:\n    def __getattr__(self, name): raise SystemExit(3)\n    def __call__(self): return Bad()\nNew = F()",
    "a callable instance that raises at each access": "class F:\n    def __getattribute__(self, name): raise SystemExit(3)\n    def __call__(self): return Bad()\nNew = F()",
    "a bound method": "class F:\n    def new(self): return Bad()\nNew = F().new",
    "a class method": "class F:\n    @classmethod\n    def new(cls): return Bad()\nNew = F.new",
    "a static method": "New = staticmethod(Bad)",
    "a builtin without a signature": "import functools\nNew = functools.partial(next, iter([Bad()]))",
    "a builtin of another without a signature": "import functools\nNew = functools.partial(getattr, type('H', (), {'bad': Bad()}), 'bad')",
    "a method of an iterator": "New = iter(Bad, None).__next__",
    "a mock": "import unittest.mock\nNew = unittest.mock.Mock(return_value=Bad())",
    "a cached function": "import functools\n@functools.cache\ndef New(): return Bad()",
    "a function that hides what it wraps": "import functools\ndef inner(host): return Bad()\n@functools.wraps(inner)\ndef New(): return inner(7)",
    "a function that wraps itself": "def New(): return Bad()\nNew.__wrapped__ = New",
    "a signature that is a number": "def New(): return Bad()\nNew.__signature__ = 7",
    "a signature that raises": "class F:\n    @property\n    def __signature__(self): raise SystemExit(3)\n    def __call__(self): return Bad()\nNew = F()",
    "a signature that lies of what it needs": "import inspect\ndef New(): return Bad()\nNew.__signature__ = inspect.signature(len)",
    "annotations that are none": "def New() -> 'nothing.of[that': return Bad()\nNew.__annotations__['x'] = 7",
    "a __name__ of terminal commands": "def New(): return Bad()\nNew.__name__ = New.__qualname__ = '\\x1b[2J'",
    "a type for a factory that returns": "class New:\n    def __new__(cls): return Bad()",
}.items():
    add(f"New is or has {_title}", f"{CLASS}{_new}\n")
for _title, _new in {
    "bytes": "New = b'Bad'",
    "a plugin": "New = Bad()",
    "a tuple": "New = (Bad,)",
    "a class method that is not bound": "New = classmethod(Bad)",
    "a partial method": "import functools\nNew = functools.partialmethod(Bad)",
    "NotImplemented": "New = NotImplemented",
    "this module": "New = __import__(__name__)",
    "a coroutine": "async def f(): ...\nNew = f()\nNew.close()",
    "an object with a __call__ of its own": "New = type('F', (), {})()\nNew.__call__ = lambda: Bad()",
    "an object of an enormous class name": "New = type('\\x1b[2J' * 10**5, (), {})()",
    "an object whose metaclass raises": "class M(type):\n    def __getattribute__(cls, name): raise SystemExit(3)\nclass F(metaclass=M): ...\nNew = F()",
}.items():
    add(f"New is {_title}", f"{CLASS}{_new}\n", "factory-not-callable", "new")
for _title, _new in {
    "a call that needs what its signature does not say": "import inspect\ndef New(host): return Bad()\nNew.__signature__ = inspect.Signature()",
    "a class that refuses": "class New(Bad):\n    def __new__(cls): raise TypeError('New() takes 1 positional argument but 2 were given')",
    "a single dispatch": "import functools\n@functools.singledispatch\ndef New(host=None): return Bad()",
    "a builtin that refuses": "New = type",
    "a __call__ that is None": "class F:\n    __call__ = None\nNew = F()",
    "a class with an abstract method": "from abc import abstractmethod\nclass New(Bad):\n    @abstractmethod\n    def more(self): ...",
}.items():
    add(f"New is {_title}", f"{CLASS}{_new}\n", "factory-failed", "new")

# --------------------------------------------------------------------------------------------------- what New() returns
for _title, _body in {
    "a list of it": "return [Bad()]",
    "it and more": "return Bad(), None",
    "a coroutine": "async def f(): return Bad()\nreturn f()",
    "an object that can be awaited": "class A:\n    def __await__(self): yield Bad()\nreturn A()",
    "a future": "import concurrent.futures\nf = concurrent.futures.Future()\nf.set_result(Bad())\nreturn f",
    "a weak reference": "import weakref\nreturn weakref.ref(Bad())",
    "a weak proxy": "import weakref\nglobal kept\nkept = Bad()\nreturn weakref.proxy(kept)",
    "a dead proxy": "import weakref\nreturn weakref.proxy(Bad())",
    "a mock of all": "from unittest.mock import MagicMock\nreturn MagicMock()",
    "a mock with a specification": "from unittest.mock import create_autospec\nreturn create_autospec(Bad, instance=True)",
    "a namespace": "import types\nreturn types.SimpleNamespace(lang='x', greet=lambda name: name, name='bad')",
    "a partial": "import functools\nreturn functools.partial(Bad)",
    "super()": "return super(Bad, Bad())",
    "an exception": "return ValueError('no')",
    "NotImplemented": "return NotImplemented",
    "itself": "return New",
    "the contract": "return Greeter",
    "a bound method of it": "return Bad().greet",
    "a generator of it": "return (Bad() for _ in '1')",
    "a context manager of it": "import contextlib\n@contextlib.contextmanager\ndef f(): yield Bad()\nreturn f()",
    "a bare object": "return object()",
    "what another class pretends": "class P:\n    __class__ = property(lambda self: Bad)\n    __mro__ = Bad.__mro__\nreturn P()",
    "what kills when touched": "import os\nclass P:\n    def __getattribute__(self, name): os._exit(0)\nreturn P()",
    "what kills when printed": "import os\nclass P:\n    def __repr__(self): os._exit(0)\n    __str__ = __repr__\nreturn P()",
    "what hangs when compared": "class P:\n    def __eq__(self, other):\n        while True: pass\n    __hash__ = None\n    __bool__ = __len__ = lambda self: self == 1\nreturn P()",
}.items():
    add(f"returns {_title}", f"{CLASS}def New():\n{indent(_body, '    ')}\n", "wrong-type", "type")
add("is decorated with contextmanager", f"import contextlib\n{CLASS}@contextlib.contextmanager\ndef New(): yield Bad()\n", "wrong-type", "type")  # fmt: skip
for _title, _attribute, _code in [
    ("ends the process", "__import__('os')._exit(0)", "probe-crashed"),
    ("hangs", "__import__('time').sleep(10**6)", "probe-hung"),
    ("forks", "__import__('os').fork() or __import__('os')._exit(0)", "process-forked"),
    ("changes the umask", "str(__import__('os').umask(0))", "process-unsafe"),
]:
    add(
        f"returns a plugin whose attribute {_title}",
        f"{HEAD}class Bad(Greeter):\n    lang = property(lambda self: {_attribute})\n    def greet(self, name): return name\n{NEW}",
        _code,
        STAGES[_code],
        probe_timeout=HANG if _code == "probe-hung" else 20.0,
        needs="posix",
    )
for _title, _source in {
    "slots": f"{HEAD}class Bad(Greeter):\n    __slots__ = ('a',)\n{BODY}{NEW}",
    "slots that take the host's names": f"{HEAD}class Bad(Greeter):\n    __slots__ = ('name', 'init_', 'shutdown_')\n{BODY}{NEW}",
    "a name that raises": f"{CLASS}    @property\n    def name(self): raise SystemExit(3)\n{NEW}",
    "a name that cannot be set": f"{CLASS}    @property\n    def name(self): return 'mine'\n    @name.setter\n    def name(self, value): raise SystemExit(3)\n{NEW}",
    "a __getattr__ that answers everything": f"{CLASS}    def __getattr__(self, name): return self if name != 'APIVersion' and not name.startswith('__') else object.__getattribute__(self, name)\n{NEW}",
    "a __getattr__ that exits": f"{CLASS}    def __getattr__(self, name):\n        if name == 'APIVersion': raise AttributeError(name)\n        raise SystemExit(3)\n{NEW}",
    "comparisons that raise": f"{CLASS}    def __eq__(self, other): raise SystemExit(3)\n    __lt__ = __gt__ = __le__ = __ge__ = __ne__ = __eq__\n    __hash__ = None\n{NEW}",
    "a text, a length and a truth that raise": f"{CLASS}    def __repr__(self): raise SystemExit(3)\n    __str__ = __len__ = __bool__ = __iter__ = __fspath__ = __index__ = __repr__\n{NEW}",
    "a __class__ that raises": f"{CLASS}    @property\n    def __class__(self): raise SystemExit(3)\n{NEW}",
    "a __del__ that raises": f"{CLASS}    def __del__(self): self.__dict__.clear()\n{NEW}",
    "a metaclass that lies": f"from abc import ABCMeta\n{HEAD}class M(ABCMeta):\n    __mro__ = property(lambda cls: (dict, object))\n    __name__ = __module__ = property(lambda cls: 7)\n    def __instancecheck__(cls, obj): return False\n    def __subclasscheck__(cls, sub): return False\nclass Bad(Greeter, metaclass=M):\n{BODY}{NEW}",
    "a metaclass that raises at each access": f"from abc import ABCMeta\n{HEAD}armed = []\nclass M(ABCMeta):\n    def __getattribute__(cls, name):\n        if armed: raise SystemExit(3)\n        return super().__getattribute__(name)\nclass Bad(Greeter, metaclass=M):\n{BODY}armed.append(1)\n{NEW}",
    "another plugin's class": "from zoo_a_good import Good\ndef New(): return Good()\n",
    "another plugin's factory": "from zoo_z_good import New\n",
    "a class derived from another plugin's": "from zoo_a_good import Good\nclass Bad(Good):\n    lang = 'Bad'\ndef New(): return Bad()\n",
    "a class of two contracts": f"from pluginapi import Transformer\n{HEAD}class Bad(Greeter, Transformer):\n{BODY}    def transform(self, text): return text\n{NEW}",
    "a class that New makes": f"{HEAD}def New():\n    class Bad(Greeter):\n        lang = 'Bad'\n        def greet(self, name): return name\n    return Bad()\n",
    "a module that New loads anew": f"{CLASS}import importlib, sys\ndef New():\n    importlib.reload(sys.modules[__name__])\n    return Bad()\n",
    "a module that New deletes and imports anew": f"{CLASS}import sys\ndef New():\n    sys.modules.pop(__name__, None)\n    import zoo_bad\n    return zoo_bad.Bad()\n",
}.items():
    add(f"returns a plugin of {_title}", _source)
for _title, _class in {
    "an asynchronous method": "async def greet(self, name): return name",
    "a method that is a property": "greet = property(lambda self: 7)",
    "a method that is a class": "greet = 7",
    "a method that takes nothing": "def greet(self): return 'x'",
    "a method that takes keywords alone": "def greet(self, *, name): return name",
    "a wrapped asynchronous method": "import functools\n    async def inner(self, name): return name\n    greet = functools.partialmethod(inner)",
}.items():
    add(
        f"returns a plugin of {_title}",
        f"{HEAD}class Bad(Greeter):\n    lang = 'Bad'\n    {_class}\n{NEW}",
        "contract-broken",
        "type",
    )
_COPY = (
    "import importlib.util, sys, pluginapi.contracts\n"
    "spec = importlib.util.spec_from_file_location('zoo_vendor.pluginapi.contracts', pluginapi.contracts.__file__)\n"
    "copy = importlib.util.module_from_spec(spec)\n"
    "sys.modules[spec.name] = copy\n"
    "spec.loader.exec_module(copy)\n"
    f"class Bad(copy.Greeter):\n{BODY}"
)
add("returns a plugin of a copy of the API", f"{_COPY}{NEW}", "second-api-copy", "type")
add("returns a plugin of a copy that New makes", f"def New():\n{indent(_COPY, '    ')}    return Bad()\n", "second-api-copy", "type")  # fmt: skip
add(
    "returns one object for two plugins",
    lambda site: (site.module(f"{CLASS}bad = Bad()\ndef New(): return bad\n"), site.entry_points("bad = zoo_bad:New", "bad2 = zoo_bad:New")),
    "wrong-type",
    "type",
    serves=True,
    rows=2,
)  # fmt: skip
add(
    "returns another plugin's object",
    "import gc, zoo_a_good\ndef New():\n    found = [obj for obj in gc.get_objects() if type(obj) is zoo_a_good.Good]\n    return found[0] if found else zoo_a_good.New()\n",
    "wrong-type",
    "type",
)
add(
    "asks a host of its own for itself",
    f"{CLASS}import os\ncount = os.path.join(os.path.dirname(__file__), 'count')\ndef New():\n    with open(count, 'ab') as file: file.write(b'x')\n    if os.path.getsize(count) > 12: raise RuntimeError('asked 12 times')\n    from pluginhost import PluginManager\n    return PluginManager().get('bad', Greeter)\n",
    "factory-failed",
    "new",
)

# ---------------------------------------------------------------------------------------------------- its APIVersion
for _title, _value in [*UNFIT.items()][::3]:
    add(f"its class has an APIVersion {_title}", f"{CLASS}    APIVersion = {_value}\n{NEW}", "api-version", "type")
for _title, _value in [*FIT.items()][::3]:
    add(f"its class has an APIVersion {_title}", f"{CLASS}    APIVersion = {_value}\n{NEW}")
for _title, _source in {
    "of an instance": f"{CLASS}    def __init__(self): self.APIVersion = '9.0'\n{NEW}",
    "by a property": f"{CLASS}    APIVersion = property(lambda self: '9.0')\n{NEW}",
    "by a property that raises": f"{CLASS}    @property\n    def APIVersion(self): raise SystemExit(3)\n{NEW}",
    "that New sets for the module": f"{CLASS}def New():\n    global APIVersion\n    APIVersion = '9.0'\n    return Bad()\n",
    "that the module contradicts": f"{CLASS}    APIVersion = '9.0'\n{NEW}APIVersion = '1.0'\n",
    "that is right where the module's is not": f"{CLASS}    APIVersion = '1.0'\n{NEW}APIVersion = '9.0'\n",
}.items():
    add(f"its plugin has an APIVersion {_title}", _source, "api-version", "type")

# Its New() may differ from one process to the next: what the probe saw is not what the host gets.
for _title, _deed, _code, _stage in [
    ("raises", "raise ValueError('no')", "factory-failed", "new"),
    ("exits", "raise SystemExit(0)", "factory-failed", "new"),
    ("returns nothing", "return None", "wrong-type", "type"),
    ("changes sys.path", "sys.path.clear()", "process-changed", "import"),
]:
    add(
        f"{_title} in the second process alone",
        f"{CLASS}import os, sys\nseen = os.path.join(os.path.dirname(__file__), 'seen')\ndef New():\n    if os.path.exists(seen):\n        {_deed}\n    open(seen, 'ab').close()\n    return Bad()\n",
        _code,
        _stage,
    )
