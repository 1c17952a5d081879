"""What a plugin may do to its process, at import or in `New()`: each is a case of both families.

By the code that the host must tell, then by title, the statements. They stand once in a module's body and once in a
function's, so they make no use of either.
"""

from __future__ import annotations

import sys

HANG = 3.0
"""The probe's deadline where a case waits for it, in seconds."""

STAGES = {
    "": "",
    "process-changed": "import",
    "work-begun": "import",
    "probe-crashed": "probe",
    "probe-hung": "probe",
    "exit-disturbed": "probe",
    "process-forked": "probe",
    "process-unsafe": "probe",
    "api-replaced": "type",
}
"""Where each code is told; `import-failed` and `factory-failed` depend on the moment."""

_POSIX = ("signal.", "os.kill", "fork", "resource", "CDLL(None)", "fifo", "os.nice", "/dev/", "posix", "os.fchdir")


def needs(source: str) -> str:
    """Returns what the system must have for it: `posix`, or nothing."""
    return "posix" if any(word in source for word in _POSIX) else ""


# ------------------------------------------------------------------------------------------------------- it raises
RAISES = {
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "raises a KeyboardInterrupt of its own": "class E(KeyboardInterrupt): ...\nraise E('no')",
    "raises SystemExit(0)": "raise SystemExit(0)",
    "raises SystemExit(None)": "raise SystemExit",
    "raises SystemExit of a text": "raise SystemExit('no licence')",
    "raises SystemExit of an object": "raise SystemExit(object())",
    "raises SystemExit of the driver's status": "raise SystemExit(7)",
    "raises a SystemExit whose code raises": "class E(SystemExit):\n    code = property(lambda self: 1 / 0)\nraise E(0)",
    "raises CancelledError with a message": "import asyncio\nraise asyncio.CancelledError('no')",
    "raises CancelledError out of a loop": "import asyncio\nasync def f(): raise asyncio.CancelledError\nasyncio.run(f())",
    "raises StopIteration": "raise StopIteration(7)",
    "raises StopAsyncIteration": "raise StopAsyncIteration",
    "raises GeneratorExit of a text": "raise GeneratorExit('no')",
    "raises a BaseException": "raise BaseException",
    "raises a BaseException of its own": "class E(BaseException): ...\nraise E(1, 2, 3)",
    "raises a group of 10,000": "raise ExceptionGroup('g', [ValueError(n) for n in range(10_000)])",
    "raises a group of all that ends a process": "raise BaseExceptionGroup('g', [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])",
    "raises groups nested 500 deep": "e = ValueError('no')\nfor _ in range(500): e = ExceptionGroup('g', [e])\nraise e",
    "raises a group of its own": "class G(ExceptionGroup):\n    exceptions = property(lambda self: 1 / 0)\n    def derive(self, found): raise SystemExit(3)\nraise G('g', [ValueError()])",
    "raises its own cause": "e = ValueError('no')\ne.__cause__ = e\nraise e",
    "raises a cycle of causes": "a, b, c = ValueError('a'), ValueError('b'), ValueError('c')\na.__cause__, b.__cause__, c.__cause__ = b, c, a\nraise a",
    "raises a cycle of contexts": "a, b = ValueError('a'), ValueError('b')\na.__context__, b.__context__ = b, a\nraise a from None",
    "raises a chain of 1,000": "e = ValueError('first')\nfor n in range(1_000):\n    f = ValueError(n)\n    f.__context__ = e\n    e = f\nraise e",
    "raises an exception without a word": "raise ValueError",
    "raises an exception of an empty word": "raise ValueError('')",
    "raises an exception of blanks": "raise ValueError(' \\n\\t\\r\\n ' * 100)",
    "raises an exception of None": "raise ValueError(None)",
    "raises KeyError of nothing": "raise KeyError('')",
    "raises an exception of bytes": "raise ValueError(b'\\xff' * 10_000)",
    "raises an exception with a method for args": "class E(Exception):\n    args = property(lambda self: 1 / 0)\nraise E('no')",
    "raises what repr() raises on": "class E(Exception):\n    def __repr__(self): raise SystemExit(3)\n    def __str__(self): return repr(self)\nraise E",
    "raises of what cannot be printed": "class N:\n    def __repr__(self): raise SystemExit(3)\nraise ValueError(N(), [N()], {'n': N()})",
    "raises what can be printed once": "class E(Exception):\n    said = 0\n    def __str__(self):\n        E.said += 1\n        return 'no' if E.said == 1 else 1 / 0\nraise E",
    "raises a message that shifts": "class E(Exception):\n    said = 0\n    def __str__(self):\n        E.said += 1\n        return 'no' * E.said\nraise E",
    "raises a message that recurs for ever": "class E(Exception):\n    def __str__(self): return str(self)\n    __repr__ = __str__\nraise E",
    "raises 100 MB of line ends": "raise ValueError('\\n' * 100_000_000)",
    "raises a message like the host's own": "raise ValueError('[process-changed] all is well\\nhint: go on\\n[ok]')",
    "raises a message of rich markup": "raise ValueError('[bold red]x[/] [link=file:///etc/passwd]y[/link] %s %(name)s {0} {self}')",
    "raises a message of surrogates": "raise ValueError('\\udcff\\ud800' * 5_000)",
    "raises a message of terminal commands": "raise ValueError('\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\x7f\\x08' * 500)",
    "raises a message of bidirectional overrides": "raise ValueError('\\u202e\\u2066\\u2028\\u2029' * 500)",
    "raises a message in a text of its own": "class S(str):\n    def __getattribute__(self, name): raise SystemExit(3)\n    def __iter__(self): raise SystemExit(3)\n    def __getitem__(self, at): raise SystemExit(3)\nclass E(Exception):\n    def __str__(self): return S('no')\nraise E",
    "raises what cannot be pickled": "class E(Exception):\n    def __init__(self, a, b): super().__init__(a)\n    def __reduce__(self): raise SystemExit(3)\nraise E(1, 2)",
    "raises what ends the process when unpickled": "import os\nclass E(Exception):\n    def __reduce__(self): return os._exit, (0,)\nraise E",
    "raises what has no traceback": "class E(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\n    __cause__ = __context__ = __traceback__\nraise E",
    "raises with a traceback 900 deep": "def f(n): return f(n - 1) if n else 1 / 0\nf(900)",
    "raises an exception with notes that raise": "class N:\n    def __str__(self): raise SystemExit(3)\ne = ValueError('no')\ne.__notes__ = [N(), 7, 'x' * 10**6]\nraise e",
    "raises a class that refuses to be made": "class E(Exception):\n    def __init__(self): raise SystemExit(3)\nraise E",
    "raises a class with a metaclass that raises": "class M(type):\n    def __getattribute__(cls, name): raise SystemExit(3)\n    __subclasscheck__ = __instancecheck__ = lambda cls, other: 1 / 0\nclass E(Exception, metaclass=M): ...\nraise E('no')",
    "raises a UnicodeDecodeError": "b'\\xff'.decode()",
    "raises a UnicodeError that was emptied": "raise UnicodeDecodeError.__new__(UnicodeDecodeError)",
    "raises a SyntaxError with odd attributes": "e = SyntaxError('no', ('\\x1b[2J', -1, 10**9, None))\ne.text = 7\nraise e",
    "raises an OSError with odd attributes": "raise OSError(-7, 'no', '\\x1b[2J\\ud800')",
    "raises a RecursionError in Python": "def f(): f()\nf()",
    "raises a RecursionError in C": "x = []\nfor _ in range(100_000): x = [x]\nrepr(x)",
    "raises a RecursionError in a comparison": "a, b = [], []\na.append(b); b.append(a)\na == b",
    "raises a RecursionError in json": "import json\nx = []\nx.append(x)\njson.dumps(x, check_circular=False)",
    "raises a RecursionError in __getattr__": "class A:\n    def __getattr__(self, name): return getattr(self, name + 'x')\nA().a",
    "asks at standard input": "input('password: ')",
    "raises a warning": "raise DeprecationWarning('old')",
    "raises an error of the interpreter": "raise SystemError('error return without exception set')",
    "raises a TimeoutError": "raise TimeoutError('probe timed out')",
}

# -------------------------------------------------------------------------------------- it ends the process, or hangs
_KILLING = ("SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGHUP", "SIGQUIT", "SIGALRM")
_HARMLESS = ("SIGCHLD", "SIGWINCH", "SIGCONT", "SIGPIPE", "SIGURG")
_FAKE = "{'ok': True, 'done': True, 'status': 'ready', 'findings': [], 'code': ''}"

CRASHES = {
    "closes descriptors 3 to 99": "import os\nos.closerange(3, 100)",
    "puts /dev/null at descriptors 3 to 99": "import os\nfd = os.open('/dev/null', os.O_RDWR)\nfor n in range(3, 100):\n    try:\n        os.fstat(n)\n    except OSError:\n        continue\n    if n != fd: os.dup2(fd, n)\nos.close(fd)",
    **{f"ends the process with {status}": f"import os\nos._exit({status})" for status in (0, 1, 2, 3, 7, 255)},
    "aborts": "import os\nos.abort()",
    "reads address 0": "import ctypes\nctypes.string_at(0)",
    "writes to address 0": "import ctypes\nctypes.memset(0, 1, 64)",
    "jumps to address 1": "import ctypes\nctypes.CFUNCTYPE(None)(1)()",
    "tells a fatal error": "import ctypes\nctypes.pythonapi.Py_FatalError(b'fatal')",
    "ends the interpreter": "import ctypes\nctypes.pythonapi.Py_Exit(0)",
    "ends the process from C": "import ctypes\nctypes.CDLL(None).exit(0)",
    "ends the process from C at once": "import ctypes\nctypes.CDLL(None)._exit(0)",
    "ends the process in a thread": "import os, threading, time\nthreading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(20)",
    "becomes another program": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])",
    "becomes another program that tells it is done": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"done\")'])",
    "tells that it is done and ends the process": f"import json, os\nfor fd in (1, 2): os.write(fd, json.dumps({_FAKE}).encode() + b'\\n')\nos._exit(0)",
    "raises an exception that ends the process when printed": "import os\nclass E(Exception):\n    def __str__(self): os._exit(0)\nraise E",
    "kills its process group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
    **{
        f"kills itself by {name}": f"import os, signal\nos.kill(os.getpid(), signal.{name})\nimport time\ntime.sleep(20)"
        for name in _KILLING
    },
}
if sys.version_info < (3, 12):  # later the depth of C is limited apart
    CRASHES["overflows the stack of C"] = (
        "import sys\nsys.setrecursionlimit(10**7)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)"
    )

HANGS = {
    "spins": "while True: pass",
    "spins and swallows every exception": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "spins deaf to SIGTERM and SIGINT": "import signal\nfor number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM): signal.signal(number, signal.SIG_IGN)\nwhile True: pass",
    "spins in C": "import itertools\nmax(itertools.repeat(1))",
    "spins in a regular expression": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
    "sleeps for ever": "import time\ntime.sleep(10**6)",
    "waits for a lock that it holds": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "waits for a thread that waits": "import threading\nt = threading.Thread(target=threading.Event().wait, daemon=True)\nt.start()\nt.join()",
    "waits for a pipe": "import os\nr, w = os.pipe()\nos.read(r, 1)",
    "waits for a FIFO": "import os\npath = os.path.join(os.path.dirname(__file__), f'zoo_{os.getpid()}.fifo')\nos.mkfifo(path)\nopen(path).read()",
    "waits for a caller": "import socket\nsocket.create_server(('127.0.0.1', 0)).accept()",
    "waits for a child": "import subprocess\nsubprocess.run(['/bin/sleep', '25'], stdout=-3, stderr=-3)",
    "waits for a signal": "import signal\nsignal.pause()",
    "waits in a loop of asyncio": "import asyncio\nasyncio.run(asyncio.sleep(10**6))",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "raises a message that is never told": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "keeps telling that it is done": "import os, time\nwhile True:\n    os.write(1, b'{\"done\": true}\\n')\n    time.sleep(0.05)",
}

EXIT_HANGS = {
    "registers an exit handler that ends the process": "import atexit, os\natexit.register(os._exit, 5)",
    "leaves an exit handler that sleeps for ever": "import atexit, time\natexit.register(time.sleep, 10**6)",
    "leaves an exit handler that spins": "import atexit\ndef spin():\n    while True: pass\natexit.register(spin)",
    "leaves a thread for ever": "import threading\nthreading.Thread(target=threading.Event().wait).start()",
    "leaves a thread that spins for ever": "import threading, time\ndef spin():\n    while True: time.sleep(0.01)\nthreading.Thread(target=spin).start()",
    "leaves a pool whose work never ends": "import concurrent.futures, threading\npool = concurrent.futures.ThreadPoolExecutor(1)\npool.submit(threading.Event().wait)",
}

MEMORY = {
    "takes 100 GB at once": "hoard = bytes(100 << 30)",
    "takes more than an address can name": "hoard = 'x' * (1 << 62)",
    "takes until there is no more": "hoard = []\nwhile True: hoard.append(bytes(16 << 30))",
    "raises MemoryError": "raise MemoryError",
}
"""No page of it is touched, so that a machine without limits lives."""

FORKS = {
    "forks a child that ends": "import os\npid = os.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)",
    "forks a child that goes on as a second host": "import os\nos.fork()",
    "forks and ends, its child goes on": "import os\nif os.fork(): os._exit(0)",
    "forks with a terminal": "import os\npid, fd = os.forkpty()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)\nos.close(fd)",
    "forks by pty": "import pty, os\npid, fd = pty.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)\nos.close(fd)",
    "forks by multiprocessing": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=int)\np.start()\np.join()",
    "forks a daemon": "import os\npid = os.fork()\nif not pid:\n    os.setsid()\n    if not os.fork():\n        import time\n        time.sleep(2)\n    os._exit(0)\nos.waitpid(pid, 0)",
    "forks in a thread": "import os, threading\ndef f():\n    pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\nt = threading.Thread(target=f)\nt.start()\nt.join()",
}

# ---------------------------------------------------------------------------------- it changes what nobody may change
_SIGNALS = ("SIGTERM", "SIGINT", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGHUP", "SIGALRM")
_PATCHED = {
    "builtins": ("open", "print", "__import__", "len", "isinstance", "type", "__build_class__"),
    "json": ("dumps", "loads"),
    "os": ("listdir", "open", "stat", "fork", "_exit", "scandir"),
    "os.path": ("join",),
    "sys": ("exit",),
    "time": ("time", "sleep"),
    "socket": ("socket",),
    "subprocess": ("Popen",),
    "importlib": ("import_module",),
    "threading": ("Thread",),
    "logging": ("getLogger",),
    "inspect": ("signature",),
}
_HOOKS = {
    "sys": ("excepthook", "displayhook", "unraisablehook", "breakpointhook"),
    "threading": ("excepthook",),
}
_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "LD_PRELOAD", "LD_LIBRARY_PATH")

UNSAFE = {
    "interrupts the main thread": "import _thread\n_thread.interrupt_main()\nfor _ in range(10**6): pass",
    "sends SIGINT to itself": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**6): pass",
    "calls exit()": "import builtins, sys\ngetattr(builtins, 'exit', sys.exit)()",
    **{
        f"handles {name}": f"import signal\nsignal.signal(signal.{name}, lambda number, frame: None)"
        for name in _SIGNALS
    },
    "ignores SIGINT": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
    "ignores SIGCHLD": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "lets SIGPIPE kill": "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    "handles SIGTERM by what raises when compared": "import signal\nclass H:\n    def __eq__(self, other): raise SystemExit(3)\n    __hash__ = None\n    def __call__(self, *args): raise SystemExit(3)\nsignal.signal(signal.SIGTERM, H())",
    "blocks SIGTERM": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "is woken by signals": "import os, signal\nr, w = os.pipe()\nos.set_blocking(w, False)\nsignal.set_wakeup_fd(w)",
    "sets an alarm": "import signal\nsignal.alarm(1000)",
    **{
        f"sets the timer {name}": f"import signal\nsignal.setitimer(signal.{name}, 1000, 1000)"
        for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    },
    **{f"adds {name}": f"import os\nos.environ[{name!r}] = '/zoo'" for name in _VARIABLES},
    "changes PATH": "import os\nos.environ['PATH'] = '/zoo'",
    "lengthens PATH": "import os\nos.environ['PATH'] += ':/zoo'",
    "removes HOME": "import os\ndel os.environ['HOME']",
    "changes LC_ALL": "import os\nos.environ['LC_ALL'] = 'tr_TR.UTF-8'",
    "clears the environment": "import os\nos.environ.clear()",
    "puts another object for the environment": "import os\nos.environ = dict(os.environ)",
    "puts a variable past os.environ": "import os\nos.putenv('LD_PRELOAD', '/zoo.so')",
    "removes a variable past os.environ": "import os\nos.unsetenv('PATH')",
    "removes a variable past os.environ and sets another": "import os\nos.unsetenv('PATH')\nos.putenv('ZOO', '1')\nos.unsetenv('ZOO')",
    "removes what finds distributions": "from importlib.machinery import PathFinder\ndel PathFinder.find_distributions",
    "replaces what finds distributions": "from importlib.machinery import PathFinder\nPathFinder.find_distributions = classmethod(lambda *_: iter(()))",
    "changes the working folder": "import os\nos.chdir('/')",
    "changes the working folder by its descriptor": "import os\nfd = os.open('/', os.O_RDONLY)\nos.fchdir(fd)\nos.close(fd)",
    "goes to a folder that is then removed": "import os, tempfile\npath = tempfile.mkdtemp()\nos.chdir(path)\nos.rmdir(path)",
    "changes the umask": "import os\nos.umask(0)",
    "changes the umask to forbid all": "import os\nos.umask(0o777)",
    "limits itself to 8 descriptors": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))",
    "limits itself to files of nothing": "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))",
    "limits its address space": "import resource\nhard = resource.getrlimit(resource.RLIMIT_AS)[1]\nhalf = 1 << 32 if hard < 0 else hard // 2\nresource.setrlimit(resource.RLIMIT_AS, (half, half))",
    "limits its time": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))",
    "limits its stack": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))",
    "lowers its priority": "import os\nos.nice(1)",
    **{f"closes sys.{name}": f"import sys\nsys.{name}.close()" for name in ("stdin", "stdout", "stderr")},
    "detaches sys.stdout": "import sys\nsys.stdout.detach()",
    **{f"closes descriptor {fd}": f"import os\nos.close({fd})" for fd in (0, 1, 2)},
    "closes descriptors 0 to 2": "import os\nos.closerange(0, 3)",
    "puts /dev/null at descriptor 1": "import os\nfd = os.open('/dev/null', os.O_RDWR)\nos.dup2(fd, 1)\nos.close(fd)",
    "puts a pipe at descriptor 2": "import os\nr, w = os.pipe()\nos.dup2(w, 2)\nos.close(r)\nos.close(w)",
    **{
        f"sets {owner}.{name}": f"import {owner}\n{owner}.{name} = lambda *args: None"
        for owner, names in _HOOKS.items()
        for name in names
    },
    **{
        f"sets {owner}.set{name}": f"import {owner}\n{owner}.set{name}(lambda *args: None)"
        for owner in ("sys", "threading")
        for name in ("profile", "trace")
    },
    "profiles in C": "import cProfile\ncProfile.Profile().enable()",
    **{
        f"replaces {owner}.{name}": f"import {owner}\nreal = {owner}.{name}\n{owner}.{name} = lambda *args, **named: real(*args, **named)"
        for owner, names in _PATCHED.items()
        for name in names
    },
    "removes builtins.print": "import builtins\ndel builtins.print",
    "replaces a method of threading.Thread": "import threading\nreal = threading.Thread.start\nthreading.Thread.start = lambda self: real(self)",
    "replaces a method of pathlib.Path": "import pathlib\npathlib.Path.write_text = lambda *args, **named: 0",
    "replaces a method of logging.Logger": "import logging\nlogging.Logger.handle = lambda self, record: None",
    "replaces the finder of the import system": "import importlib.machinery\nimportlib.machinery.PathFinder.find_spec = classmethod(lambda cls, name, path=None, target=None: None)",
    "replaces code in place": "import json\ndef dumps(obj, **named): return '{}'\njson.dumps.__kwdefaults__ = None\njson.dumps.__code__ = dumps.__code__",
    "replaces a function of the host": "import pluginhost.loading\npluginhost.loading.load = None",
    "replaces a class of the host": "import pluginhost.errors\npluginhost.errors.Finding = dict",
    "adds an audit hook": "import sys\nsys.addaudithook(lambda event, args: None)",
    "adds an audit hook that raises at each import": "import sys\ndef hook(event, args):\n    if event == 'import': raise ImportError('no more')\nsys.addaudithook(hook)",
    "adds an audit hook that raises at each opening": "import sys\ndef hook(event, args):\n    if event == 'open': raise PermissionError('no more')\nsys.addaudithook(hook)",
    "adds an audit hook that ends the process later": "import os, sys\ndef hook(event, args):\n    if event == 'os.listdir': os._exit(0)\nsys.addaudithook(hook)",
    "adds a finder that raises": "import sys\nclass F:\n    @staticmethod\n    def find_spec(name, path=None, target=None): raise SystemExit(3)\nsys.meta_path.insert(0, F)",
    "adds a finder that finds everything": "import sys, importlib.machinery\nclass F:\n    @staticmethod\n    def find_spec(name, path=None, target=None): return importlib.machinery.ModuleSpec(name, F)\n    @staticmethod\n    def create_module(spec): return None\n    @staticmethod\n    def exec_module(module): ...\nsys.meta_path.insert(0, F)",
    "clears the exit handlers": "import atexit\natexit._clear()",
}

# ------------------------------------------------------------------------------------ it changes what can be put back
BEGUN = {
    "leaves a thread that waits": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "leaves a thread that spins": "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()",
    "leaves a thread that threading does not know": "import _thread, threading\n_thread.start_new_thread(threading.Event().wait, ())",
    "leaves 50 threads": "import threading\nfor _ in range(50): threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "leaves a thread of a name that cannot be printed": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True, name='\\x1b[2J' * 10_000).start()",
    "leaves an idle pool": "import concurrent.futures, sys\npool = sys.modules[__name__].kept = concurrent.futures.ThreadPoolExecutor(1)\npool.submit(int).result()",
    "leaves a timer thread": "import threading\nt = threading.Timer(1000, int)\nt.daemon = True\nt.start()",
    "leaves a descriptor open": "import os\nos.open(__file__, os.O_RDONLY)",
    "leaves a file open": "import sys\nsys.modules[__name__].kept = open(__file__)",
    "leaves a pipe open": "import os\nos.pipe()",
    "leaves a socket open": "import socket, sys\nsys.modules[__name__].kept = socket.create_server(('127.0.0.1', 0))",
    "leaves 100 descriptors open": "import os\nfor _ in range(100): os.open(__file__, os.O_RDONLY)",
    "leaves a loop of asyncio": "import asyncio, sys\nsys.modules[__name__].kept = asyncio.new_event_loop()",
}

CHANGES = {
    **{f"takes sys.{name} away": f"import sys\nsys.{name} = None" for name in ("stdin", "stdout", "stderr")},
    **{
        f"puts another sys.{name}": f"import io, sys\nsys.{name} = io.StringIO()"
        for name in ("stdin", "stdout", "stderr")
    },
    "enters redirect_stdout for ever": "import contextlib, io\ncontextlib.redirect_stdout(io.StringIO()).__enter__()",
    "asks chance": "import random\nrandom.random()",
    "adds to sys.path": "import sys\nsys.path.insert(0, '/zoo')",
    "adds what is no text to sys.path": "import sys\nclass N:\n    def __repr__(self): raise SystemExit(3)\nsys.path.append(N())",
    "clears sys.path": "import sys\nsys.path.clear()",
    "reverses sys.path": "import sys\nsys.path.reverse()",
    "puts another list for sys.path": "import sys\nsys.path = list(sys.path)",
    "puts a tuple for sys.path": "import sys\nsys.path = tuple(sys.path)",
    "puts None for sys.path": "import sys\nsys.path = None",
    "removes the plugins' folder from sys.path": "import os, sys\nsys.path.remove(os.path.dirname(__file__))",
    "clears sys.path_hooks": "import sys\nsys.path_hooks.clear()",
    "adds a path hook that raises": "import sys\ndef hook(path): raise SystemExit(3)\nsys.path_hooks.insert(0, hook)",
    "clears sys.meta_path": "import sys\nsys.meta_path.clear()",
    "puts None for sys.meta_path": "import sys\nsys.meta_path = None",
    "adds a finder that finds nothing": "import sys\nclass F:\n    @staticmethod\n    def find_spec(name, path=None, target=None): return None\nsys.meta_path.insert(0, F)",
    **{
        f"removes {name} from sys.modules": f"import sys\nsys.modules.pop({name!r}, None)"
        for name in ("json", "logging", "os", "sys", "builtins", "zoo_a_good", "importlib", "encodings")
    },
    **{
        f"replaces {name} in sys.modules": f"import sys\nsys.modules[{name!r}] = type(sys)({name!r})"
        for name in ("json", "logging", "os", "zoo_a_good", "traceback")
    },
    "puts None for a module": "import sys\nsys.modules['json'] = None",
    "removes json and all who import it": "import json, sys\nfor name, module in list(sys.modules.items()):\n    if any(value is json for value in list(getattr(module, '__dict__', {}).values())) and not name.startswith('pluginapi') and name != __name__ or name == 'json': del sys.modules[name]",
    "raises the recursion limit": "import sys\nsys.setrecursionlimit(10_000)",
    "lowers the recursion limit": "import sys\nsys.setrecursionlimit(150)",
    "turns warnings into errors": "import warnings\nwarnings.simplefilter('error')",
    "ignores all warnings": "import warnings\nwarnings.filterwarnings('ignore')",
    "resets the warnings": "import warnings\nwarnings.resetwarnings()",
    "puts another list of warnings": "import warnings\nwarnings.filters = []",
    "registers an exit handler": "import atexit\natexit.register(int)",
    "registers an exit handler that raises": "import atexit\ndef f(): raise SystemExit(3)\natexit.register(f)",
    "seeds chance": "import random\nrandom.seed(0)",
    "changes decimal's precision": "import decimal\ndecimal.getcontext().prec = 3",
    "sets another context of decimal": "import decimal\ndecimal.setcontext(decimal.Context(prec=2))",
    "sets the timeout of sockets": "import socket\nsocket.setdefaulttimeout(0.001)",
    "sets the locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
    "turns garbage collection off": "import gc\ngc.disable()",
    "changes the thresholds of garbage collection": "import gc\ngc.set_threshold(1, 1, 1)",
    "is called at each garbage collection": "import gc\ngc.callbacks.append(lambda phase, info: None)",
    "changes the switch interval": "import sys\nsys.setswitchinterval(1e-6)",
    "traces memory": "import tracemalloc\ntracemalloc.start()",
    "turns the fault handler over": "import faulthandler\n(faulthandler.disable if faulthandler.is_enabled() else faulthandler.enable)()",
    "adds a harmless variable": "import os\nos.environ['ZOO'] = 'x'",
    "adds a variable of 100 KB": "import os\nos.environ['ZOO'] = '\\x1b[2J' * 25_000",
    "adds 500 variables": "import os\nfor n in range(500): os.environ[f'ZOO_{n}'] = str(n)",
    "forbids bytecode": "import sys\nsys.dont_write_bytecode = True",
    "silences logging": "import logging\nlogging.disable(logging.CRITICAL)",
    "silences the host's log": "import logging\nlogging.getLogger('pluginhost').disabled = True",
    "lets the host's log pass nothing": "import logging\nlogging.getLogger('pluginhost').addFilter(lambda record: False)",
    "empties sys.argv": "import sys\nsys.argv.clear()",
    "changes sys.executable": "import sys\nsys.executable = '/zoo'",
    "moves the bytecode": "import sys\nsys.pycache_prefix = '/zoo'",
    "changes the size of stacks": "import threading\nthreading.stack_size(1 << 20)",
    "imports what takes finding distributions over": "import importlib_metadata",
    "installs gettext": "import gettext\ngettext.install('zoo')",
}

# ---------------------------------------------------------------------------------------------------- it does no harm
_LIBRARIES = (
    "argparse, asyncio, concurrent.futures, csv, ctypes, dataclasses, decimal, email.message, enum, fractions, getpass, "
    "hashlib, http.server, inspect, locale, logging.config, logging.handlers, multiprocessing.pool, pathlib, pickle, "
    "random, rlcompleter, shutil, socket, sqlite3, ssl, statistics, subprocess, tempfile, unittest.mock, urllib.request, uuid, "
    "xml.etree.ElementTree, zipfile, zoneinfo"
)
HARMLESS = {
    "imports many libraries": "\n".join(
        f"try: import {name.strip()}\nexcept ImportError: pass" for name in _LIBRARIES.split(",")
    ),
    **{f"sends {name} to itself": f"import os, signal\nos.kill(os.getpid(), signal.{name})" for name in _HARMLESS},
    "runs a program": "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'pass'], check=True)",
    "runs a program that fails": "import subprocess\nsubprocess.run(['false'])",
    "runs a shell": "import os\nos.system('true')",
    "spawns a program": "import os, sys\npid = os.posix_spawn(sys.executable, [sys.executable, '-S', '-c', 'pass'], os.environ)\nos.waitpid(pid, 0)",
    "leaves a program running, with its outputs": "import subprocess, sys\nsys.modules[__name__].kept = subprocess.Popen(['/bin/sleep', '20'])",
    "prints megabytes": "import sys\nfor _ in range(300):\n    print('zoo ' * 5_000)\n    print('zoo ' * 5_000, file=sys.stderr)",
    "prints megabytes to the descriptors": "import os\nfor _ in range(300):\n    for fd in (1, 2): os.write(fd, b'zoo ' * 5_000)",
    "prints that it is done": f"import json, sys\nfor stream in (sys.stdout, sys.stderr): print(json.dumps({_FAKE}), 'done', 'ok', file=stream, flush=True)",
    "prints that it failed": "import json, sys\nfor stream in (sys.stdout, sys.stderr): print(json.dumps({'ok': False, 'code': 'import-failed', 'findings': [{'code': 'import-failed'}]}), file=stream, flush=True)",
    "prints binary": "import sys\nfor stream in (sys.stdout, sys.stderr): stream.buffer.write(bytes(range(256)) * 4)",
    "prints without a line's end": "import sys\nsys.stdout.write('zoo'); sys.stderr.write('zoo')",
    "reads standard input to its end": "import sys\nsys.stdin.read()",
    "starts a thread and waits": "import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()",
    "starts a thread that raises, and waits": "import threading\ndef f(): raise ValueError('no')\nt = threading.Thread(target=f)\nt.start()\nt.join()",
    "starts a thread that exits, and waits": "import threading\ndef f(): raise SystemExit(3)\nt = threading.Thread(target=f)\nt.start()\nt.join()",
    "runs a pool and waits": "import concurrent.futures\nwith concurrent.futures.ThreadPoolExecutor(2) as pool: list(pool.map(int, '123'))",
    "runs a loop of asyncio": "import asyncio\nasync def f(): await asyncio.sleep(0)\nasyncio.run(f())",
    "opens and closes a file": "with open(__file__) as file: file.read()",
    "makes and removes a folder": "import tempfile\nwith tempfile.TemporaryDirectory(): pass",
    "collects garbage": "import gc\ngc.collect()",
    "catches warnings": "import warnings\nwith warnings.catch_warnings():\n    warnings.simplefilter('error')",
    "warns": "import warnings\nwarnings.warn('old', DeprecationWarning)",
    "makes a logger": "import logging\nlogging.getLogger('zoo').addHandler(logging.NullHandler())",
    "logs an error": "import logging\nlogging.getLogger('zoo').error('no')",
    "goes to another folder and back": "import os\nhere = os.getcwd()\nos.chdir('/')\nos.chdir(here)",
    "changes a variable and back": "import os\nos.environ['PATH'], path = '/zoo', os.environ['PATH']\nos.environ['PATH'] = path",
    "changes a variable past os.environ and back, as numpy does": "import os\nos.putenv('ZOO', '1')\nos.unsetenv('ZOO')",
    "handles a signal and back": "import signal\nsignal.signal(signal.SIGTERM, signal.signal(signal.SIGTERM, signal.SIG_IGN))",
    "redirects and back": "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): print('zoo')",
    "asks a host of its own for another plugin": "from pluginhost import PluginManager\nfrom pluginapi import Greeter\nwith PluginManager() as manager: manager.get('a-good', Greeter).greet('Bea')",
    "sets a default context of decimal of its own": "import decimal\nwith decimal.localcontext() as context: context.prec = 3",
    "has an exit handler of the standard library registered": "import tempfile, sys\nsys.modules[__name__].kept = tempfile.TemporaryDirectory()",
    "clears the caches of the import system": "import importlib, sys\nimportlib.invalidate_caches()\nsys.path_importer_cache.clear()",
    "takes half a second": "import time\ntime.sleep(0.5)",
    "takes 50 MB": "hoard = bytearray(50 << 20)",
}

# --------------------------------------------------------------------------------------------- it lays hands on the API
REPLACES_API = {
    "replaces a method of its contract": "Greeter.greet = lambda self, name: 'patched'",
    "adds to its contract": "Greeter.extra = 1",
    "removes a method of the contract": "del Greeter.greet",
    "makes its contract concrete": "Greeter.__abstractmethods__ = frozenset()",
    "is told of each plugin's class": "import pluginapi\npluginapi.Plugin.__init_subclass__ = classmethod(lambda cls: 1 / 0)",
    "replaces the name of all plugins": "import pluginapi\npluginapi.Plugin.name = property(lambda self: 1 / 0)",
    "replaces init of all plugins": "import pluginapi\npluginapi.Plugin.init = lambda self, host: 1 / 0",
    "replaces init of all plugins in place": "import pluginapi\npluginapi.Plugin.init.__code__ = (lambda self, host: 1 / 0).__code__",
    "replaces another contract's method": "import pluginapi\npluginapi.Transformer.transform = None",
    "replaces the contract in its module": "import pluginapi.contracts\npluginapi.contracts.Greeter = Bad",
    "removes a name of the API": "import pluginapi\ndel pluginapi.Transformer",
    "empties the API": "import pluginapi\nvars(pluginapi).clear()",
    "replaces the API's version": "import pluginapi\npluginapi.API_VERSION = '9.0.0'",
    "replaces what init receives": "import pluginapi\npluginapi.Host.config = property(lambda self: {})",
    "replaces the plugins' own error": "import pluginapi\npluginapi.PluginError.__str__ = lambda self: 1 / 0",
    "renames its contract": "Greeter.__name__ = Greeter.__qualname__ = 'Other'",
    "replaces the API's module": "import sys\nsys.modules['pluginapi'] = type(sys)('pluginapi')",
    "removes the API's modules": "import sys\nfor name in [name for name in sys.modules if name.partition('.')[0] == 'pluginapi']: del sys.modules[name]",
    "loads the API anew": "import importlib, pluginapi\nimportlib.reload(pluginapi)",
}

DEEDS = {
    "probe-crashed": CRASHES,
    "probe-hung": HANGS,
    "exit-disturbed": EXIT_HANGS,
    "process-forked": FORKS,
    "process-unsafe": UNSAFE,
    "process-changed": CHANGES,
    "work-begun": BEGUN,
    "": HARMLESS,
    "api-replaced": REPLACES_API,
}

ALSO = {
    "leaves a pool whose work never ends": "process-changed",
}
"""By title, the codes that may be told beside it."""
