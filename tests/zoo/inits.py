"""Bad plugins whose `init` or `validate` raises, returns something, or makes a bad use of its host."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import TYPE_CHECKING

from zoo.cases import BODY, HEAD, NEW, Case, Make
from zoo.deeds import HARMLESS, RAISES, needs

if TYPE_CHECKING:
    from zoo.site_folder import SiteFolder

CASES: list[Case] = []
ENDED = ("shutdown",)
"""What a plugin notes that does nothing else."""
NOTE = (
    "import os, threading, time\n"
    "def note(text, path=os.path.join(os.path.dirname(os.path.dirname(__file__)), 'notes'), open=open):\n"
    "    with open(path, 'a') as file: file.write(f'{text}\\n')\n"
)


def life(init: str = "", validate: str = "", shutdown: str = "", more: str = "", head: str = "") -> str:
    """Returns a module whose plugin does such things in its life, and notes its shutdown.

    Args:
        init: Statements of its `init`; `host` is the host.
        validate: Statements of its `validate`.
        shutdown: Statements of its `shutdown`.
        more: More of its class, which may define these three anew.
        head: What stands before the class.
    """
    made = f"{NOTE}{HEAD}{head}\nclass Bad(Greeter):\n{BODY}"
    for name, arguments, deed in [
        ("init", "self, host", init),
        ("validate", "self", validate),
        ("shutdown", "self", f"note('shutdown')\n{shutdown}"),
    ]:
        made += f"    def {name}({arguments}):\n{indent(deed or 'pass', '        ')}\n"
    return f"{made}{indent(more, '    ')}\n{NEW}"


def add(name: str, make: Make | str, code: str = "", stage: str = "", **more: object) -> None:
    """A plugin, by its module's source or by what damages it; one that serves is shut down once."""
    made = (lambda site: site.module(make)) if isinstance(make, str) else make
    serves = code in ("", "listener-failed")
    options: dict[str, object] = {"serves": serves, "probe": "never", "notes": ENDED if serves else (), **more}
    CASES.append(Case("init", name, made, code, stage, **options))  # type: ignore[arg-type]


def fails(name: str, source: str, code: str = "init-failed", **more: object) -> None:
    """A plugin that is made and does not start; after `validate` it is shut down."""
    add(name, source, code, "init", **{"notes": ENDED if code == "validate-failed" else (), **more})


def configured(source: str, config: dict[str, object]) -> Make:
    """A plugin with a configuration."""

    def make(site: SiteFolder) -> None:
        site.module(source)
        site.plugins["bad"] = {"config": config}

    return make


def beside(source: str, **mates: str) -> Make:
    """A plugin beside others of its making, by name: their modules' sources."""

    def make(site: SiteFolder) -> None:
        site.module(source)
        for name, mate in mates.items():
            module, plugin = f"zoo_mate_{name}", name.replace("_", ".")
            info = site.distribution(f"zoo-mate-{name.replace('_', '-')}", "1.2.3", "pluginapi~=1.0")
            site.write(f"{module}.py", mate, info=info)
            info.joinpath("entry_points.txt").write_text(f"[pluginhost.plugins]\n{plugin} = {module}:New\n")

    return make


# --------------------------------------------------------------------------------------------------------- they raise
for _number, (_title, _deed) in enumerate(RAISES.items()):
    if _number % 6 == 0 or "KeyboardInterrupt" in _title:
        fails(f"init {_title}", life(_deed), needs=needs(_deed))
    if _number % 8 == 2:
        fails(f"validate {_title}", life(validate=_deed), "validate-failed", needs=needs(_deed))
fails(
    "validate raises, and so does shutdown",
    life(validate="raise ValueError('no')", shutdown="raise SystemExit(0)"),
    "validate-failed",
    also="shutdown-failed",
)
fails(
    "validate raises, and shutdown hangs",
    life(validate="raise ValueError('no')", shutdown="threading.Event().wait()"),
    "validate-failed",
    also="shutdown-timeout",
    shutdown_timeout=1.5,
)
fails("validate raises, and init returned before", life("note('init')", "raise ValueError('no')"), "validate-failed", notes=("init", *ENDED))  # fmt: skip
fails("init raises, and validate is not asked", life("raise ValueError('no')", "note('validate')"))

# ----------------------------------------------------------------------------------------------- they return something
RETURNS = {
    "an error": "return ValueError('no')",
    "True": "return True",
    "False": "return False",
    "nought": "return 0",
    "a list of what is wrong": "return ['no', 'no']",
    "a text of 10 MB": "return 'x' * 10_000_000",
    "what pretends to be None": "class R:\n    __class__ = property(lambda self: type(None))\n    __eq__ = lambda self, other: True\n    __bool__ = lambda self: False\nreturn R()",
    "an object of an enormous class name": "return type('\\x1b[2J' * 100_000, (), {})()",
    "an object whose metaclass raises": "class M(type):\n    def __getattribute__(cls, name): raise SystemExit(3)\nclass R(metaclass=M): ...\nreturn R()",
    "a generator": "yield 1",
    "a coroutine": "async def f(): raise SystemExit(3)\nreturn f()",
    "a coroutine that will not end": "import types\n@types.coroutine\ndef wait():\n    while True:\n        try: yield\n        except GeneratorExit: pass\nasync def f(): await wait()\nmade = f()\nmade.send(None)\nreturn made",
    "a coroutine that exits at its end": "import types\n@types.coroutine\ndef wait(): yield\nasync def f():\n    try: await wait()\n    finally: raise SystemExit(3)\nmade = f()\nmade.send(None)\nreturn made",
    "a coroutine that runs": "import types\nasync def f():\n    await inner()\n@types.coroutine\ndef inner(): yield made.cr_running\nmade = f()\nreturn made",
    "an asynchronous generator": "async def f(): yield 1\nreturn f()",
    "a weak proxy that is dead": "import weakref\nclass R: ...\nreturn weakref.proxy(R())",
}
for _number, (_title, _deed) in enumerate(RETURNS.items()):
    fails(f"init returns {_title}", life(_deed))
    if _number % 5 == 0 or "coroutine" in _title:
        fails(f"validate returns {_title}", life(validate=_deed), "validate-failed")
fails("init returns the host", life("return host"))
for _name, _arguments in (("init", "self, host"), ("validate", "self")):
    _code = f"{_name}-failed"
    for _title, _deed in (("asynchronous", "note('ran')"), ("an asynchronous generator", "yield note('ran')")):
        add(f"{_name} is {_title}", life(more=f"async def {_name}({_arguments}): {_deed}"), "contract-broken", "type")
    fails(f"{_name} is a generator that raises", life(more=f"def {_name}({_arguments}): yield 1 / 0"), _code)
    add(f"{_name} returns None in a way of its own", life(more=f"{_name} = lambda {_arguments}: print(end='')"))

# ----------------------------------------------------------------------------------------------- they cannot be called
for _title, _source in {
    "init takes no host": "def init(self): note('ran')",
    "init takes a configuration as well": "def init(self, host, config): note('ran')",
    "init is a static method of two": "@staticmethod\ndef init(self, host): note('ran')",
    "init is a partial method": "import functools\ndef f(self, more, host): ...\ninit = functools.partialmethod(f, 7)",
    "init is a property": "@property\ndef init(self): note('ran')",
    "init is a property that raises": "@property\ndef init(self): raise SystemExit(3)",
    "init is None": "init = None",
    "validate takes a host": "def validate(self, host): note('ran')",
    "validate is None": "validate = None",
}.items():
    add(_title, life(more=_source), "contract-broken", "type")
for _title, _source in {
    "is a class": "class init:\n    def __init__(self, host): ...",
    "is of an object whose __call__ raises": "class C:\n    def __call__(self, *args): raise SystemExit(3)\ninit = C()",
    "is a descriptor that raises": "class D:\n    def __get__(self, *args): raise KeyboardInterrupt\ninit = D()",
    "is hidden by a __getattribute__": "def __getattribute__(self, name):\n    if name == 'init': raise SystemExit(3)\n    return object.__getattribute__(self, name)",
    "is made anew in its __init__": "def __init__(self): self.init = lambda: note('ran')",
    "calls itself for ever": "def init(self, host): return self.init(host)",
}.items():
    fails(f"init {_title}", life(more=_source))
_HIDES = "def __getattribute__(self, name):\n    if name == 'validate': raise SystemExit(3)\n    return object.__getattribute__(self, name)"
fails("validate is hidden by a __getattribute__", life(more=_HIDES), "validate-failed")
fails("validate is replaced in init", life("self.validate = None"), "validate-failed")
for _title, _source in {
    "takes anything": "def init(self, *args, **named): ...",
    "takes more, with defaults": "def init(self, host, config=None): ...",
    "is a class method": "@classmethod\ndef init(cls, host): ...",
    "is of the class of all": "init = Greeter.init",
}.items():
    add(f"init {_title}", life(more=_source))

# --------------------------------------------------------------------------------------------------- half done, it fails
for _topic in ("", "plugin.", "zoo"):
    fails(
        f"init subscribes to {_topic or 'all'!r} and raises",
        life(f"host.subscribe(lambda event: note(event.topic), {_topic!r})\nhost.emit('zoo')\nraise ValueError('no')"),
        notes=("zoo",) if _topic != "plugin." else (),
    )
fails(
    "validate raises, and init has subscribed",
    life("host.subscribe(lambda event: note(event.topic), 'plugin.')", "raise ValueError('no')"),
    "validate-failed",
)
fails("init subscribes 1,000 times and raises", life("for _ in range(1_000): host.subscribe(lambda event: note('told'))\nraise ValueError('no')"))  # fmt: skip
fails("init undoes a subscription twice and raises", life("undo = host.subscribe(note)\nundo()\nundo()\nraise ValueError('no')"))  # fmt: skip
fails(
    "init raises, and its thread goes on with the host",
    life(
        "def work():\n    try:\n        while True: host.emit('zoo'); time.sleep(0.01)\n    except Exception as exc: note(exc.finding.code)\n"
        "threading.Thread(target=work, daemon=True).start()\nraise ValueError('no')"
    ),
    notes=("host-revoked",),
)
_GUEST = life().replace("note('shutdown')", "note('guest')")
fails(
    "init has a guest and raises",
    beside(life("host.load('guests', {'one': {}}, Greeter)\nraise ValueError('no')"), guests_one=_GUEST),
    serves=True,  # the guest does, by its own name
    notes=("guest", "guest"),
    rows=2,
)
fails(
    "init has a guest and asks for another that is not there",
    beside(life("host.load('guests', {'one': {}, 'two': {}}, Greeter)"), guests_one=_GUEST),
    serves=True,
    notes=("guest", "guest"),
    rows=2,
)
fails(
    "init has a guest that fails",
    beside(life("host.load('guests', {'one': {}}, Greeter)"), guests_one=life("raise ValueError('no')")),
    rows=2,
    told=3,  # the guest fails for the plugin, and by its own name
)
add(
    "init has a guest that fails, and goes on",
    beside(
        life("try: host.load('guests', {'one': {}}, Greeter)\nexcept Exception: note('no guest')"),
        guests_one=life("raise ValueError('no')"),
    ),
    "init-failed",
    "init",
    rows=2,
    told=2,
    serves=True,
    notes=("no guest", *ENDED),
    known=("zoo-mate-guests-one", "1.2.3"),
)

# ----------------------------------------------------------------------------------------------- what it asks its host
for _title, _deed in {
    "for itself": "host.get('bad', Greeter)",
    "for a plugin that is not there": "host.get('nothing', Greeter)",
    "for a plugin of 1 MB": "host.get('x' * 1_000_000, Greeter)",
    "for a plugin of terminal commands": "host.get('\\x1b[2J', Greeter)",
    "for another contract": "import pluginapi\nhost.get('a-good', pluginapi.Handler)",
    "for a contract that is a number": "host.get('a-good', 7)",
    "for a contract of its own": "host.get('a-good', Bad)",
    "for guests of nothing": "host.load('', {'': {}})",
    "for guests that are not there": "host.load('guests', {'one': {}})",
    "to raise in a listener that is a text": "host.subscribe('listener')",
    "to tell of a topic that is a number": "host.subscribe(note, 7)",
    "to tell of two topics": "host.subscribe(note, ('plugin.', 'zoo'))",
    "to tell of a topic that raises": "class T(str):\n    __bool__ = __len__ = __format__ = __str__ = lambda self, *args: 1 / 0\nhost.subscribe(note, T('plugin.'))",
    "to emit a topic that is a number": "host.emit(7)",
    "to emit a topic that raises": "class T(str):\n    startswith = __format__ = __str__ = lambda self, *args: 1 / 0\nhost.emit(T('zoo'))",
}.items():
    fails(f"init asks {_title}", life(_deed))
for _title, _deed in {
    "for itself, and does without": "try: host.get('bad', Greeter)\nexcept Exception as exc: note(exc.finding.code)\n",
    "for a plugin that is not there, and does without": "try: host.get('nothing', Greeter)\nexcept Exception as exc: note(exc.finding.code)",
}.items():
    add(f"init asks {_title}", life(_deed), notes=("requirement-cycle" if "itself" in _title else "plugin-unknown", *ENDED))  # fmt: skip
add("init asks for both good ones", life("for name in ('a-good', 'z-good'): note(host.get(name, Greeter).greet('Ada'))"), notes=("good Ada", "good Ada", *ENDED))  # fmt: skip
add("init asks for all others", life("note({'a-good', 'z-good'} <= set(host.all(Greeter)))"), notes=("True", *ENDED))
fails(
    "init asks for one that asks for it",
    beside(life("host.get('mate', Greeter)"), mate=life("host.get('bad', Greeter)")),
    rows=2,
    told=2,
)
add(
    "init asks for one that asks for it and does without",
    beside(
        life("host.get('mate', Greeter)"),
        mate=life("try: host.get('bad', Greeter)\nexcept Exception as exc: note(exc.finding.code)"),
    ),
    rows=2,
    notes=("requirement-cycle", *ENDED, *ENDED),
)
add(
    "init asks for one that asks for all",
    beside(life("host.get('mate', Greeter)"), mate=life("note('bad' in host.all(Greeter))")),
    "requirement-cycle",
    "init",
    rows=2,
    serves=True,
    known=("bad -> mate -> bad",),
    notes=("False", *ENDED, *ENDED),
)
add(
    "init uses its host in a thread after its shutdown",
    life(
        "def work():\n    ended.wait()\n    while True:\n        try: host.config\n        except Exception: break\n"
        "    for use in (lambda: host.logger, lambda: host.config, lambda: host.capabilities, lambda: host.data_folder, lambda: host.cache_folder, lambda: host.get('a-good', Greeter), lambda: host.all(Greeter), lambda: host.load('a', {}), lambda: host.subscribe(print), lambda: host.emit('zoo')):\n"
        "        try: use()\n        except Exception as exc: note(exc.finding.code)\n        else: note('used')\n"
        "ended = self.ended = threading.Event()\nthreading.Thread(target=work, daemon=True).start()",
        shutdown="self.ended.set()",
    ),
    notes=(*ENDED, *["host-revoked"] * 10),
)
add(
    "init waits until another thread has got a good plugin",
    life(
        "def work():\n    host.get('z-good', Greeter).greet('Ada')\n    got.set()\n"
        "got = threading.Event()\nother = threading.Thread(target=work)\nother.start()\nnote(got.wait(30))\nother.join(30)"
    ),
    notes=("True", *ENDED),
)

# --------------------------------------------------------------------------------------------------- what it subscribes
for _title, _listener in {
    "raises": "def listen(event): raise ValueError('no')",
    "exits": "def listen(event): raise SystemExit(0)",
    "raises KeyboardInterrupt": "def listen(event): raise KeyboardInterrupt",
    "raises CancelledError": "import asyncio\ndef listen(event): raise asyncio.CancelledError",
    "raises 10 MB": "def listen(event): raise ValueError('\\x1b' * 10_000_000)",
    "raises what cannot be printed": "class E(Exception):\n    def __str__(self): raise SystemExit(3)\ndef listen(event): raise E",
    "takes nothing": "def listen(): ...",
    "changes the event": "def listen(event): event.topic = 'zoo'",
    "calls itself for ever": "def listen(event): listen(event)",
    "starts what is being started": "def listen(event):\n    if event.topic == 'plugin.loaded': host.get('z-good', Greeter)",
}.items():
    add(
        f"init subscribes a listener that {_title}",
        life(f"{_listener}\nhost.subscribe(listen, 'plugin.loaded')"),
        "listener-failed",
        "call",
    )
for _title, _listener in {
    "is asynchronous and is never waited for": "class C:\n    def __await__(self): yield\ndef listen(event): return C()",
    "unsubscribes itself": "def listen(event): undo()",
    "emits what is like the host's": "def listen(event):\n    if not event.source: host.emit('plugin.running', **{**event.fields, 'plugin': 'nothing'})",
}.items():
    add(f"init subscribes a listener that {_title}", life(f"{_listener}\nundo = host.subscribe(listen, 'plugin.')"))

# ------------------------------------------------------------------------------------------------- what it tampers with
for _title, _deed in {
    "sets an attribute of the host": "host.more = 7",
    "replaces a method of the host": "host.get = print",
    "replaces the host's configuration": "host.config = {}",
    "makes a host of another": "host.__class__ = type('H', (type(host),), {})",
    "changes its configuration": "host.config['colour'] = 'blue'",
    "adds to its capabilities": "host.capabilities.add('streaming')",
    "revokes its host itself": "host.revoke()\nhost.config",
}.items():
    fails(f"init {_title}", configured(life(_deed), {"colour": "red"}))  # type: ignore[arg-type]
for _title, _deed in {
    "calls itself by another name": "self.name = 'z-good'",
    "takes its name away": "del self.name",
    "gives itself a name that raises": "class N(str):\n    __str__ = __format__ = __eq__ = lambda self, *args: 1 / 0\n    __hash__ = str.__hash__\nself.name = N('bad')",
    "has another greet": "self.greet = lambda name: f'other {name}'",
    "deletes its init": "del Bad.init",
    "deletes its class from its module": "global Bad\ndel Bad",
    "empties its module": "globals_ = {name: value for name, value in globals().items()}\nimport sys\nsys.modules.pop(__name__)",
    "is of another class": "class Other(Greeter):\n    __slots__ = ('__dict__',)\n    lang = 'Other'\n    def greet(self, name): return f'other {name}'\n    def shutdown(self): note('shutdown')\nself.__class__ = Bad = type('Bad', (type(self),), {})",
    "keeps itself and its host": "import sys\nsys.zoo_kept = [self, host]",
    "uses its folders": "(host.data_folder / 'x').write_text('x')\n(host.cache_folder / 'x').write_text('x')",
    "logs megabytes": "for _ in range(20): host.logger.debug('zoo ' * 100_000)",
    "closes standard output": "import sys\nsys.stdout.close()",
    "compares its configuration with what changes it": "class E:\n    def __eq__(self, other):\n        other.clear()\n        return True\n    __hash__ = None\nhost.config == E()",
    "puts what raises on what is undone": "host.undo.callback(lambda: 1 / 0)",
    "puts what exits on what is undone": "import sys\nhost.undo.callback(sys.exit, 0)",
}.items():
    _fails = "what is undone" in _title
    add(
        f"init {_title}",
        configured(life(_deed), {"colour": "red"}),
        "shutdown-failed" if _fails else "",
        "shutdown" if _fails else "",
        serves=True,
        notes=ENDED,
    )
fails("init puts what raises on what is undone, and fails", life("host.undo.callback(lambda: 1 / 0)\nraise ValueError('no')"), also="shutdown-failed")  # fmt: skip
add("init deletes its greet", life("del Bad.greet"))
for _title, _raised in (("AttributeError", "AttributeError('no')"), ("NotImplementedError", "NotImplementedError")):
    _source = life(
        "armed.append(7)",
        more=f"def greet(self, name): raise {_raised}",
        head="armed = []\nclass M(type(Greeter)):\n    def __getattribute__(cls, name):\n        if armed: raise SystemExit(3)\n        return type.__getattribute__(cls, name)\n",
    )
    _source = _source.replace("Bad(Greeter)", "Bad(Greeter, metaclass=M)")
    add(
        f"init has its class raise at each access, and greet raises {_title}",
        _source,
        "call-failed",
        "call",
        notes=ENDED,
    )
add("init has a greet that is a number", life("self.greet = 7"), "call-failed", "call", notes=ENDED)
add(
    "init changes what it was configured with",
    configured(life("host.config['colours'].append('blue')\nnote(len(host.config['colours']))"), {"colours": ["red"]}),
    notes=("2", *ENDED),
)

# ---------------------------------------------------------------------------------------- what it does to its process
for _title in (
    "runs a program", "runs a loop of asyncio", "prints megabytes", "prints binary",
    "reads standard input to its end", "runs a pool and waits", "collects garbage", "starts a thread that exits, and waits",
):  # fmt: skip
    _deed = HARMLESS[_title]
    add(f"init {_title}", life(_deed), needs=needs(_deed))
# From `init` on a plugin may be meant to do such things, as one that puts its messages into another language is.
for _title, _deed, _changes in [
    ("sets a variable", "os.environ['ZOO'] = 'x'", "environment"),
    ("goes to another folder", "os.chdir('/')", "folder"),
    ("handles SIGTERM", "import signal\nsignal.signal(signal.SIGTERM, lambda *args: None)", "handlers, handler"),
    ("adds to sys.path", "import sys\nsys.path.insert(0, '/zoo')", "path"),
    ("puts another sys.stdout", "import io, sys\nsys.stdout = io.StringIO()", "streams"),
    ("takes sys.stderr away", "import sys\nsys.stderr = None", "streams"),
    ("has a hook for exceptions", "import sys\nsys.excepthook = lambda *args: None", "hook"),
    ("removes another plugin's module", "import sys\nsys.modules.pop('zoo_a_good')", ""),
    ("silences the host's log", "import logging\nlogging.disable()", "logging"),
]:
    add(f"init {_title}", life(_deed), changes=_changes, needs=needs(_deed))

# ------------------------------------------------------------------------------------------------------- concurrency
_RAISING = "type('C', (), {'__eq__': lambda s, o: 1 / 0, '__lt__': lambda s, o: 1 / 0, '__repr__': lambda s: 1 / 0, '__hash__': None})()"
for _title, _value in {
    "nought": "0", "negative": "-1", "True": "True", "a text": "'1'", "1.5": "1.5", "a list": "[1]",
    "a property": "property(lambda self: 1)",
    "a member of an enumeration": "__import__('enum').IntEnum('E', 'one').one",
    "a number of its own": "type('I', (int,), {'__lt__': lambda s, o: 1 / 0})(1)",
    "an object that raises": _RAISING,
    "a huge negative": "-10**5000",
}.items():  # fmt: skip
    add(f"its concurrency is {_title}", life("note('init')", more=f"concurrency = {_value}"), "contract-broken", "type")
for _title, _source in {
    "None": "concurrency = None",
    "1": "concurrency = 1",
    "huge": "concurrency = 10**5000",
    "annotated alone": "concurrency: int",
    "set in init": "def init(self, host): self.concurrency = 0",
    "set in its __init__": "def __init__(self): self.concurrency = 'no'",
    "1, and greet calls itself": "concurrency = 1\ndef greet(self, name): return self.greet('Bea') if name == 'Ada' else name",
    "1, and greet raises": "concurrency = 1\ndef greet(self, name): return str(name)",
}.items():
    add(f"its concurrency is {_title}", life(more=_source))
_HIDES = _HIDES.replace("validate", "concurrency")
add("its concurrency is hidden by a __getattribute__", life(more=_HIDES), "contract-broken", "type")
add("its concurrency is a slot", life(more="__slots__ = ('concurrency',)"), "contract-broken", "type")
add("its concurrency is a number of a metaclass", life(more="", head="class M(type(Greeter)):\n    concurrency = 0\n").replace("Bad(Greeter)", "Bad(Greeter, metaclass=M)"))  # fmt: skip

# ------------------------------------------------------------------------------------------------------- Capabilities
for _title, _value in {
    "a number": "7", "None": "None", "a text": "'batch'", "bytes": "b'batch'", "a table": "{'batch': True}",
    "a list of numbers": "[7]", "without an end": "__import__('itertools').count()",
    "an object that raises": _RAISING,
    "a list of its own that raises": "type('L', (list,), {'__iter__': lambda self: 1 / 0})(['batch'])",
    "a text of its own": "[type('S', (str,), {'__hash__': lambda self: 1 / 0})('batch')]",
    "of what exits": "[type('N', (), {'__repr__': lambda self: exec('raise SystemExit(3)')})()]",
    "100,000 numbers": "list(range(100_000))",
}.items():  # fmt: skip
    add(f"its Capabilities are {_title}", life("note('init')", head=f"Capabilities = {_value}"), "capabilities-wrong", "type")  # fmt: skip
for _title, _value in {
    "others than its manifest's": "['batch']",
    "100,000 others": "[str(number) for number in range(100_000)]",
    "one of terminal commands": "['\\x1b[2J\\u202e' * 10_000]",
    "one of surrogates": "['\\udcff' * 10_000]",
    "an empty text": "['']",
}.items():
    add(f"its Capabilities are {_title}", life("note('init')", head=f"Capabilities = {_value}"), "capabilities-wrong", "type")  # fmt: skip
for _title, _value in {"an empty list": "[]", "an empty tuple": "()", "an empty set": "set()"}.items():
    add(f"its Capabilities are {_title}", life(head=f"Capabilities = {_value}"))
add("its Capabilities are its class's", life(more="Capabilities = 7"))
add("its Capabilities are for type checkers alone", life(head="Capabilities: list"))

# -------------------------------------------------------------------------------------------------- what its class is
for _title, _change in {
    "has slots": lambda source: source.replace(BODY, f"    __slots__ = ()\n{BODY}"),
    "refuses attributes": lambda source: source.replace(BODY, f"{BODY}    def __setattr__(self, name, value): raise SystemExit(3)\n"),
    "has a metaclass that hides it": lambda source: source.replace("class Bad(Greeter)", "class M(type(Greeter)):\n    def __getattribute__(cls, name):\n        if name in ('concurrency', 'init', '__name__', '__mro__'): raise SystemExit(3)\n        return type.__getattribute__(cls, name)\nclass Bad(Greeter, metaclass=M)"),
    "has a metaclass that compares all": lambda source: source.replace("class Bad(Greeter)", "class M(type(Greeter)):\n    __eq__ = __hash__ = __bool__ = __repr__ = lambda cls, *args: 1 / 0\nclass Bad(Greeter, metaclass=M)"),
    "cannot be compared, printed or counted": lambda source: source.replace(BODY, f"{BODY}    __eq__ = __bool__ = __repr__ = __str__ = __len__ = __iter__ = lambda self, *args: 1 / 0\n    __hash__ = None\n"),
    "pretends to be another": lambda source: source.replace(BODY, f"{BODY}    __class__ = property(lambda self: int)\n"),
}.items():  # fmt: skip
    _changed: Callable[[str], str] = _change
    add(f"its class {_title}", _changed(life()))
