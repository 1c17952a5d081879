"""Bad plugins whose `shutdown` fails or does not end, or that hold up the end of the process."""

from __future__ import annotations

from zoo.cases import Case, Make
from zoo.deeds import RAISES, needs
from zoo.inits import ENDED, RETURNS, beside, life

CASES: list[Case] = []
"""Those that hold up the end of the process; the manager's guard of it breaks them off."""
HANG = 1.5
"""The manager's deadline where a case waits for it, in seconds."""


def add(name: str, make: Make | str, code: str = "", **more: object) -> None:
    """A plugin that serves, by its module's source or by what damages it, and is shut down once."""
    made = (lambda site: site.module(make)) if isinstance(make, str) else make
    options: dict[str, object] = {"serves": True, "probe": "never", "notes": ENDED, **more}
    if code.endswith("-timeout"):
        options.setdefault("shutdown_timeout", HANG)
    CASES.append(Case("shutdown", name, made, code, "shutdown" if code else "", **options))  # type: ignore[arg-type]


def ends(name: str, source: str, code: str = "exit-held", **more: object) -> None:
    """A plugin that serves, and holds up the end of the process."""
    options: dict[str, object] = {"serves": True, "probe": "never", "notes": ENDED, "known": ("zoo-bad",), **more}
    stage = options.pop("stage", "shutdown" if code else "")
    CASES.append(Case("shutdown", name, lambda site: site.module(source), code, stage, **options))  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- it raises
for _number, (_title, _deed) in enumerate(RAISES.items()):
    if _number % 6 == 1 or "KeyboardInterrupt" in _title:
        _end = "stop" if _number % 12 == 1 else "close"
        add(f"shutdown {_title}", life(shutdown=_deed), "shutdown-failed", needs=needs(_deed), ends=_end)
for _number, (_title, _deed) in enumerate(RETURNS.items()):
    if (_number % 4 == 0 or "coroutine" in _title) and "yield" not in _deed.partition("\n")[0]:
        add(f"shutdown returns {_title}", life(shutdown=_deed), "shutdown-failed")
add("shutdown is a generator", life(more="def shutdown(self): yield note('ran')"), "shutdown-failed", notes=())
add("shutdown is replaced by an asynchronous one", life("async def f(): note('ran')\nself.shutdown = f"), "shutdown-failed", notes=())  # fmt: skip
for _title, _value in {
    "None": "None",
    "a number": "7",
    "what takes an argument": "lambda more: note('ran')",
    "what raises when it is called": "type('C', (), {'__call__': lambda self: 1 / 0})()",
}.items():
    add(f"shutdown is replaced by {_title}", life(f"self.shutdown = {_value}"), "shutdown-failed", notes=())
for _title, _source in {
    "takes an argument": "def shutdown(self, host): note('ran')",
    "takes nothing": "def shutdown(): note('ran')",
    "is None": "shutdown = None",
    "is a property": "@property\ndef shutdown(self): raise SystemExit(3)",
    "is asynchronous": "async def shutdown(self): note('ran')",
}.items():
    CASES.append(
        Case("shutdown", f"shutdown {_title}", lambda site, source=_source: site.module(life(more=source)), "contract-broken", "type", probe="never", notes=())  # type: ignore[misc]
    )  # fmt: skip
for _title, _source in {
    "is hidden by a __getattribute__": "def __getattribute__(self, name):\n    if name == 'shutdown' and hidden: raise SystemExit(3)\n    return object.__getattribute__(self, name)\ndef init(self, host): hidden.append(7)",
    "is a descriptor that raises": "class D:\n    def __get__(self, *args): raise KeyboardInterrupt\nshutdown = D()",
}.items():
    add(f"shutdown {_title}", life(more=_source, head="hidden = []"), "shutdown-failed", notes=())
add("shutdown is deleted", life("del Bad.shutdown"), notes=())
add("shutdown is replaced by another", life("self.shutdown = lambda: note('other')"), notes=("other",))
add("shutdown is of the class of all", life(more="shutdown = Greeter.shutdown"), notes=())
add("shutdown is stopped, and then closed", life(), ends="stop")
add("shutdown takes a while", life(shutdown="time.sleep(0.3)"))

# -------------------------------------------------------------------------------------------------- it does not end
for _number, (_title, _deed) in enumerate(
    {
        "sleeps": "time.sleep(3_600)",
        "waits for an event": "threading.Event().wait()",
        "waits for a lock of its own": "lock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "waits for itself": "threading.current_thread()._started.clear()\nthreading.current_thread()._started.wait()",
        "waits for its thread": "t = threading.Thread(target=threading.Event().wait, daemon=True)\nt.start()\nt.join()",
        "waits for a future": "import concurrent.futures\nconcurrent.futures.Future().result()",
        "waits for a loop of asyncio": "import asyncio\nasyncio.run(asyncio.Event().wait())",
        "waits at a pipe": "os.read(os.pipe()[0], 1)",
        "spins": "while True: pass",
        "spins, and catches all": "while True:\n    try: time.sleep(0.01)\n    except BaseException: pass",
        "spins in generators": "for _ in iter(int, 1): sum(range(10))",
        "sleeps in a part of its own": "exec(compile('import time; time.sleep(3600)', '\\x1b[2J' * 5_000, 'exec'))",
        "sleeps where __name__ is a list": "global __name__\n__name__ = []\ntime.sleep(3_600)",
        "sleeps where __name__ raises": "class N(str):\n    __eq__ = __str__ = lambda self, *args: 1 / 0\n    def __hash__(self): return 1 / 0\nglobal __name__\n__name__ = N('zoo_bad')\ntime.sleep(3_600)",
        "sleeps in globals of its own": "class G(dict):\n    def get(self, *args): raise SystemExit(3)\nexec('import time; time.sleep(3600)', G())",
        "sleeps deep down": "def f(n): f(n - 1) if n else time.sleep(3_600)\nf(500)",
        "sleeps without a module": "import sys\nsys.modules.pop('zoo_bad')\nglobals_ = globals()\nsleep = time.sleep\nglobals_.clear()\nsleep(3_600)",
    }.items()
):
    add(f"shutdown {_title}", life(shutdown=_deed), "shutdown-timeout", ends="stop" if _number % 4 == 3 else "close")
add(
    "two that hang",
    beside(life(shutdown="time.sleep(3_600)"), mate=life(shutdown="while True: time.sleep(0.01)")),
    "shutdown-timeout",
    rows=2,
    told=2,
    notes=ENDED * 2,
    known=("1.2.3",),
)
add(
    "one that raises, and one that hangs and uses it",
    beside(
        life("self.mate = host.get('mate', Greeter)", shutdown="time.sleep(3_600)"),
        mate=life(shutdown="raise SystemExit(0)"),
    ),
    "shutdown-timeout",
    also="shutdown-failed",
    rows=2,
    notes=ENDED * 2,
)
add(
    "a guest that hangs",
    beside(life("host.load('guests', {'one': {}}, Greeter)"), guests_one=life(shutdown="time.sleep(3_600)")),
    "shutdown-timeout",
    rows=2,
    told=2,
    notes=ENDED * 3,
    known=("zoo-mate-guests-one",),
)
add("a guest that raises", beside(life("host.load('guests', {'one': {}}, Greeter)"), guests_one=life(shutdown="raise SystemExit(0)")), "shutdown-failed", rows=2, told=2, notes=ENDED * 3, known=("zoo-mate-guests-one",))  # fmt: skip
add(
    "shutdown is late, and uses its host after that",
    life(
        "self.host = host",
        shutdown="while True:\n    try: self.host.config; time.sleep(0.01)\n    except Exception as exc: break\nnote(exc.finding.code if False else 'over')",
    ),
    "shutdown-timeout",
    notes=(*ENDED, "over"),
)

# -------------------------------------------------------------------------------------------- calls that are inside
# What the caller is told may reach its thread before the shutdown or after: it notes that after it.
_STAY = (
    "def work():\n    while True:\n        try: me = host.get('bad', Greeter); break\n        except Exception: time.sleep(0.01)\n"
    "    try: me.greet('stay')\n    except BaseException as exc:\n        ended.wait(60)\n        note(type(exc).__name__)\n"
    "threading.Thread(target=work, daemon=True).start()\n"
)
_INSIDE = "inside = threading.Event()\nended = threading.Event()"
_GREET = "def greet(self, name):\n    if name == 'stay':\n        inside.set()\n{}\n    else: inside.wait(60)\n    return name"
for _title, _deed, _code, _more in [
    ("does not return", "        threading.Event().wait()", "drain-timeout", {}),
    ("spins", "        while True: pass", "drain-timeout", {}),
    ("returns in the end", "        ended.wait()\n        note('returned')", "drain-timeout", {"notes": (*ENDED, "returned")}),
    ("raises in the end", "        ended.wait()\n        raise SystemExit(0)", "drain-timeout", {"notes": (*ENDED, "PluginCallError")}),
    ("returns soon", "        time.sleep(0.3)\n        note('returned')", "", {"notes": ("returned", *ENDED)}),
    ("raises soon", "        time.sleep(0.3)\n        note('raises')\n        raise ValueError('no')", "", {"notes": ("raises", *ENDED, "PluginCallError")}),
]:  # fmt: skip
    _life = life(_STAY, shutdown="ended.set()", more=_GREET.format(_deed), head=_INSIDE)
    add(f"a call is inside and {_title}", _life, _code, **_more)
for _title, _deed, _code in [
    ("raises", "raise ValueError('no')", "shutdown-failed"),
    ("hangs", "time.sleep(3_600)", "shutdown-timeout"),
]:
    _life = life(_STAY, shutdown=_deed, more=_GREET.format("        threading.Event().wait()"), head=_INSIDE)
    add(f"a call is inside, and shutdown {_title}", _life, "drain-timeout", also=_code)
add(
    "a call is inside that the limit holds up",
    # Two calls begin while the caller's own is inside: one has the only turn after it and keeps it, the other waits.
    life(
        _STAY.replace("    try: me.greet", "    first.wait()\n    calling.release()\n    try: me.greet") * 2,
        more="concurrency = 1\n"
        + _GREET.format("        threading.Event().wait()").replace(
            "inside.wait(60)", "first.set(), [calling.acquire(timeout=60) for _ in range(2)]"
        ),
        head=f"{_INSIDE}\nfirst, calling = threading.Event(), threading.Semaphore(0)",
    ),
    "drain-timeout",
)

# --------------------------------------------------------------------------------------- what it asks, and when
add(
    "shutdown uses its host",
    life(
        "self.host = host",
        shutdown="note(len(self.host.config))\nself.host.subscribe(lambda event: note(event.topic))\nself.host.emit('zoo')\nself.host.logger.error('over')\nself.host.data_folder",
    ),
    notes=(*ENDED, "0", "zoo"),
)
add("shutdown uses a good one", life("self.good = host.get('a-good', Greeter)", shutdown="note(self.good.greet('Ada'))"), notes=(*ENDED, "good Ada"))  # fmt: skip
add("shutdown asks for another that has ended", life("self.host = host", shutdown="self.host.get('z-good', Greeter)"), "shutdown-failed")  # fmt: skip
add("shutdown asks for itself", life("self.host = host", shutdown="self.host.get('bad', Greeter)"), "shutdown-failed")
add("shutdown asks for itself, when it is stopped", life("self.host = host", shutdown="self.host.get('bad', Greeter)"), "shutdown-failed", ends="stop")  # fmt: skip
add("shutdown calls itself", life(shutdown="if not hasattr(self, 'again'):\n    self.again = 7\n    self.shutdown()"), notes=ENDED * 2)  # fmt: skip
add("shutdown calls itself for ever", life(more="def shutdown(self): self.shutdown()"), "shutdown-failed", notes=())
add("shutdown calls init again", life("self.host = host\nnote('init')", shutdown="self.init(self.host)"), notes=("init", *ENDED, "init"))  # fmt: skip
_MANAGER = "import gc\nmanager = next(each for each in gc.get_objects() if type(each).__name__ == 'PluginManager')\n"
add("shutdown closes the manager", life(shutdown=f"{_MANAGER}manager.close()"))
add("shutdown stops itself", life(shutdown=f"{_MANAGER}manager.stop('bad')\ntime.sleep(3_600)"), "shutdown-timeout")
add("shutdown stops itself, when it is stopped", life(shutdown=f"{_MANAGER}manager.stop('bad')\ntime.sleep(3_600)"), "shutdown-timeout", ends="stop")  # fmt: skip
add("shutdown starts itself", life(shutdown=f"{_MANAGER}manager.start('bad')"), "shutdown-failed")
add("shutdown stops a good one", life(shutdown=f"{_MANAGER}manager.stop('a-good')"))
add(
    "it stops itself in a call",
    life(more=f"def greet(self, name):\n    {_MANAGER.replace(chr(10), chr(10) + '    ')}manager.stop('bad')\n    return name"),
    "drain-timeout",
    shutdown_timeout=HANG,
)  # fmt: skip

# ------------------------------------------------------------------------------------- what it does to its process
for _title, _deed, _changes in [
    ("starts a thread that goes on", "threading.Thread(target=threading.Event().wait).start()", ""),
    ("starts a thread that spins", "def spin():\n    while True: pass\nthreading.Thread(target=spin).start()", ""),
    ("starts a thread that raises", "t = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()", ""),
    ("deletes its module", "import sys\ndel sys.modules['zoo_bad']", ""),
    ("empties its module", "globals().clear()", ""),
    ("deletes a good one's module", "import sys\ndel sys.modules['zoo_a_good']", ""),
    ("closes logging", "import logging\nlogging.shutdown()", ""),
    ("silences the host's log", "import logging\nlogging.disable()", "logging"),
    ("puts another sys.stdout", "import io, sys\nsys.stdout = io.StringIO()", "streams"),
    ("closes standard output", "import sys\nsys.stdout.close()", ""),
    ("prints megabytes", "for _ in range(100): print('zoo ' * 10_000)", ""),
    ("has a hook for threads that raises", "threading.excepthook = lambda *args: 1 / 0", "hooks"),
    ("deletes all that it has", "vars(self).clear()\ndel self.name", ""),
]:
    add(f"shutdown {_title}", life(shutdown=_deed), changes=_changes)
add("its __del__ raises", life(more="def __del__(self): raise SystemExit(3)"))
add("its __del__ raises what cannot be printed", life(more="def __del__(self):\n    class E(Exception):\n        def __str__(self): raise SystemExit(3)\n    raise E"))  # fmt: skip
add("its __del__ keeps it", life(more="def __del__(self): kept.append(self)", head="kept = []"))
add("a callback raises when it goes", life("import weakref\nself.__class__.kept = weakref.ref(self, lambda gone: 1 / 0)"))  # fmt: skip
add("a finalizer raises when it goes", life("import weakref\nweakref.finalize(self, lambda: 1 / 0)"))
add("an exit function raises", life("import atexit\ndef f(): raise SystemExit(3)\natexit.register(f)"))
add("an exit function raises KeyboardInterrupt", life("import atexit\ndef f(): raise KeyboardInterrupt\natexit.register(f)"))  # fmt: skip
add("a finalizer exits at the end", life("import weakref\ndef f(): raise SystemExit(3)\nweakref.finalize(Bad, f)"))
add("a daemon thread raises as it goes", life("def work():\n    ended.wait()\n    raise SystemExit(3)\nthreading.Thread(target=work, daemon=True).start()", shutdown="ended.set()", head="ended = threading.Event()"))  # fmt: skip

# ------------------------------------------------------------------------------------------- the end of the process
_FOREVER = "def sleeps(): time.sleep(3_600)\n"
_THREAD = f"{_FOREVER}threading.Thread(target=sleeps, daemon=False).start()"
_POOL = f"{_FOREVER}import concurrent.futures\nself.pool = concurrent.futures.ThreadPoolExecutor(1)\nself.pool.submit(sleeps)"
for _title, _deed in {
    "a thread that sleeps": _THREAD,
    "a thread of Python alone": "threading.Thread(target=time.sleep, args=(3_600,), daemon=False).start()",
    "a thread that spins": "def spin():\n    while True: time.sleep(0.001)\nthreading.Thread(target=spin, daemon=False).start()",
    "a thread that catches all": "def spin():\n    while True:\n        try: time.sleep(0.01)\n        except BaseException: pass\nthreading.Thread(target=spin, daemon=False).start()",
    "20 threads": f"{_FOREVER}for _ in range(20): threading.Thread(target=sleeps, daemon=False).start()",
    "a timer": "t = threading.Timer(3_600, int)\nt.daemon = False\nt.start()",
    "a thread whose class says anything": "runs = threading.Event()\nclass T(threading.Thread):\n    daemon = property(lambda self: 1 / 0 if runs.is_set() else False, lambda self, value: None)\n    def __eq__(self, other): return 1 / 0 if runs.is_set() else self is other\n    def __hash__(self): return 1 / 0 if runs.is_set() else 7\n    def run(self):\n        runs.set()\n        time.sleep(3_600)\nT().start()\nruns.wait()",
    "a pool that works for ever": _POOL,
    "a pool of Python alone that works for ever": "import concurrent.futures\nself.pool = concurrent.futures.ThreadPoolExecutor(1)\nself.pool.submit(time.sleep, 3_600)",
    "a pool in a pool": f"{_FOREVER}import concurrent.futures\nouter = concurrent.futures.ThreadPoolExecutor(1)\nouter.submit(concurrent.futures.ThreadPoolExecutor(1).submit, sleeps)",
}.items():
    ends(f"init leaves {_title}", life(_deed))
    if _title in ("a thread that sleeps", "a pool that works for ever"):
        ends(f"a call leaves {_title}", life(more=f"def greet(self, name):\n    {_deed.replace(chr(10), chr(10) + '    ')}\n    return name"))  # fmt: skip
        ends(f"shutdown leaves {_title}", life(shutdown=_deed))
        ends(f"init leaves {_title}, and nobody closes", life(_deed), ends="exit")
        ends(f"validate fails and leaves {_title}", life(_deed, "raise ValueError('no')"), "validate-failed", also="exit-held", stage="init", serves=False)  # fmt: skip
ends("shutdown is left to the end", life(), "", ends="exit")
ends("shutdown is left to the end, and raises", life(shutdown="raise SystemExit(3)"), "shutdown-failed", ends="exit", known=("zoo-bad", "1.2.3"))  # fmt: skip
ends("shutdown is left to the end, and hangs", life(shutdown="time.sleep(3_600)"), "shutdown-timeout", ends="exit", known=("zoo-bad", "1.2.3"), shutdown_timeout=HANG, also="exit-held")  # fmt: skip
ends("shutdown ends its thread, when it is left to the end", life("t = threading.Thread(target=ended.wait, daemon=False)\nt.start()", shutdown="ended.set()", head="ended = threading.Event()"), "", ends="exit")  # fmt: skip
ends("shutdown ends its pool, when it is left to the end", life("import concurrent.futures\nself.pool = concurrent.futures.ThreadPoolExecutor(1)\nself.pool.submit(ended.wait)", shutdown="ended.set()\nself.pool.shutdown()", head="ended = threading.Event()"), "", ends="exit")  # fmt: skip
for _title, _deed in {
    "sleeps": "time.sleep(3_600)",
    "spins": "while True: pass",
    "catches all and sleeps": "while True:\n        try: time.sleep(3_600)\n        except Exception: pass",
    "waits for a lock": "threading.Event().wait()",
}.items():
    _function = f"def sleeps():\n    {_deed}\n"
    ends(f"an exit function {_title}", life(f"import atexit\n{_function}atexit.register(sleeps)"))
ends("an exit function joins a daemon", life("import atexit\nt = threading.Thread(target=time.sleep, args=(3_600,), daemon=True)\nt.start()\ndef sleeps(): t.join()\natexit.register(sleeps)"))  # fmt: skip
ends("an exit function that nobody closed before sleeps", life(f"import atexit\n{_FOREVER}atexit.register(sleeps)"), ends="exit")  # fmt: skip
ends("five exit functions sleep", life(f"import atexit\n{_FOREVER}for _ in range(5): atexit.register(sleeps)"), told=5)
ends("a finalizer sleeps at the end", life(f"import weakref\n{_FOREVER}weakref.finalize(Bad, sleeps)"))
ends("a function before the joins sleeps", life(f"{_FOREVER}threading._register_atexit(sleeps)"))
ends("a function before the joins raises", life("def f(): raise SystemExit(3)\nthreading._register_atexit(f)"), "")
ends("an exit function of shutdown sleeps", life(shutdown=f"import atexit\n{_FOREVER}atexit.register(sleeps)"))
