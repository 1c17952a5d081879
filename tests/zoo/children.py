"""Bad plugins with processes of their own: what they do there, and what the host says of it.

A case is a plugin of its own, of a wheel that has them all. It does its deed at its import, in `New()`, in `init`, `validate` or
`shutdown`, or in a call; its `greet` is that of a good plugin. The deeds stand in an API of the zoo's own, beside its
contract, since some of them need to find their way to a channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import indent
from typing import Literal, TypeAlias

Where: TypeAlias = Literal["spawn", "hello", "import", "new", "init", "validate", "call", "shutdown"]

BOTH = ("linux", "portable")

API = """
import os, signal
from collections.abc import Iterator
from abc import abstractmethod
from pathlib import Path
from pluginapi import Plugin

API_VERSION = "1.0"

class Zoo(Plugin):
    @abstractmethod
    def greet(self, name: str) -> str: ...
    def do(self) -> str: raise NotImplementedError
    def number(self) -> float: raise NotImplementedError
    def whole(self) -> int: raise NotImplementedError
    def names(self) -> list[str]: raise NotImplementedError
    def anything(self) -> object: raise NotImplementedError
    def body(self) -> bytes: raise NotImplementedError
    def count(self) -> Iterator[int]: raise NotImplementedError
    async def later(self) -> str: raise NotImplementedError

if "PLUGINHOST_CHILD" in os.environ and Path(os.environ["HOME"], "kill in hello").exists():
    os.kill(os.getpid(), signal.SIGKILL)
"""

TRICKS = '''
import os, socket, stat, struct, sys, time
from pathlib import Path

HOME = Path(os.environ["HOME"])

def rest():
    while True: time.sleep(1000)

def note(text):
    with HOME.joinpath("notes").open("a") as file: file.write(f"{text}\\n")

def _local(name, kind):
    frame = sys._getframe()
    while type(frame.f_locals.get(name)).__name__ != kind: frame = frame.f_back
    return frame.f_locals[name]

def sockets():
    """Returns the descriptors of all sockets, as /proc has them."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode): found.append(int(name))
        except OSError: pass
    return found

def channel():
    """Returns that of the channel over which this call came."""
    fd = _local("channel", "Channel").fileno()
    assert fd in sockets()
    return fd

def say(data):
    os.write(channel(), data)

def instead(data):
    """Has bytes sent in place of this call's own reply."""
    of = _local("channel", "Channel")
    send = of._send
    def once(_):
        of._send = send
        for part in range(0, len(data), 1 << 16): send(data[part:part + (1 << 16)])  # a packet takes no more
    of._send = once

def until_read():
    """Waits until the host has taken what was said."""
    import fcntl, termios
    while fcntl.ioctl(channel(), termios.TIOCOUTQ, b"0000") != bytes(4): time.sleep(0.001)

def reply(meta=b"", body=b"", flags=0, back=0, other=0, lengths=None):
    """Returns a reply to this call, or to one that came before, or of another operation."""
    call = _local("frame", "Frame")
    meta_length, body_length = lengths or (len(meta), len(body))
    return struct.pack("<IIIHH", meta_length, body_length, call.sequence - back, call.operation + other, flags) + meta + body

TEXT = b"\\xa6forged"
'''

_HEAD = """
import ctypes, os, re, signal, socket, subprocess, sys, threading, time
from zoo_api import Zoo
from zoo_api.tricks import *
"""


@dataclass(frozen=True, eq=False)
class Case:
    """One bad plugin in a process of its own.

    Attributes:
        name: What is wrong with it.
        deed: The statements that it does.
        where: When it does them.
        code: The code of the error that its start, its call or its end brings; empty when that goes well.
        gets: What the call returns, as Python writes it, where there is no code.
        known: What the message names besides.
        method: The method that is called.
        more: The codes of further calls, one after the other.
        told: What is told in the log besides, parted by blanks: `child-died` is what says that another child serves.
        again: When it serves again: at once; soon, since there is a pause; not at all.
        settings: What is set for it.
        extra: What its class has besides.
        notes: What it writes down, line by line.
        systems: With what of the operating system it is tried.
        is_slow: Whether the host's bounds are made short, so that the case need not wait for them.
    """

    name: str
    deed: str
    where: Where = "call"
    code: str = ""
    gets: str = ""
    known: tuple[str, ...] = ()
    method: str = "do"
    more: tuple[str, ...] = ()
    told: str = ""
    again: Literal["at once", "soon", "never"] = "at once"
    settings: dict[str, object] = field(default_factory=dict)
    extra: str = ""
    notes: tuple[str, ...] = ()
    systems: tuple[str, ...] = ("linux",)
    is_slow: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def source(self) -> str:
        """The module of the plugin."""
        deed = f"def deed(self=None):\n{indent(self.deed or 'pass', '    ')}\n"
        way = "async def" if self.method == "later" else "def"
        at = {
            "init": "    def init(self, host): self.host = host; deed(self)\n",
            "call": f"    def init(self, host): self.host = host\n    {way} {self.method}(self): return deed(self)\n",
        }.get(self.where, f"    def {self.where}(self): deed(self)\n" if self.where in ("validate", "shutdown") else "")
        body = f"class Bad(Zoo):\n    def greet(self, name): return f'bad {{name}}'\n{at}{indent(self.extra, '    ')}\n"
        now = "deed()\n" if self.where == "import" else ""
        new = f"def New():\n    {'deed()' if self.where == 'new' else 'pass'}\n    return Bad()\n"
        return f"{_HEAD}\n{deed}\n{now}{body}\n{new}"


CASES: list[Case] = []


def add(name: str, deed: str, code: str = "", **more: object) -> None:
    """A case."""
    CASES.append(Case(name, deed, code=code, **more))  # type: ignore[arg-type]


def dies(name: str, deed: str, *known: str, **more: object) -> None:
    """A call that costs the process: the caller is told how it ended, and the next call finds another process."""
    add(name, deed, "channel-lost", known=known, told="child-died", **more)


def garbles(name: str, deed: str, code: str = "frame-malformed", **more: object) -> None:
    """A call that is answered by what is no reply; its channel is given up, and the process serves on."""
    add(name, deed, code, systems=BOTH, **more)


# -------------------------------------------------------------------------------------------- it ends before it serves
for _where in ("spawn", "hello"):
    add(f"is killed in {_where}", "", "child-failed", where=_where, again="never", systems=BOTH)
_STARTS = {"import": "child-failed", "new": "child-failed", "init": "init-failed", "validate": "validate-failed"}
for _where, _code in _STARTS.items():
    _both = {"systems": BOTH} if _where == "import" else {}
    add(
        f"exits with 0 in {_where}",
        "os._exit(0)",
        _code,
        where=_where,
        known=("exit status 0",),
        again="never",
        **_both,
    )
    add(f"is killed in {_where}", "os.kill(os.getpid(), 9)", _code, where=_where, known=("SIGKILL",), again="never")
add("says why it exits at import", "sys.stderr.write('no licence\\n')\nsys.stderr.flush()\nos._exit(3)", "child-failed", where="import", known=("exit status 3", "no licence"), again="never")  # fmt: skip
add("is killed in shutdown", "os.kill(os.getpid(), 9)", "shutdown-failed", where="shutdown", known=("SIGKILL",))
add("exits with 0 in shutdown", "os._exit(0)", "shutdown-failed", where="shutdown", known=("exit status 0",))
_SHORT = {"import_timeout": 0.2, "new_timeout": 0.2, "init_timeout": 0.2, "shutdown_timeout": 0.2}
for _where in ("import", "new", "init", "validate"):
    _code = f"{'init' if _where == 'validate' else _where}-timeout"
    _set = {_code.replace("-", "_"): 0.2}
    add(f"is silent in {_where}", "rest()", _code, where=_where, told=_code, again="never", settings=_set)
add("is silent in shutdown", "rest()", "shutdown-timeout", where="shutdown", settings={"shutdown_timeout": 0.2})
add("raises SystemExit at import", "sys.exit(0)", "import-failed", where="import", known=("SystemExit",), again="never")
add("segfaults at import", "ctypes.string_at(0)", "child-failed", where="import", known=("SIGSEGV",), again="never")

# ------------------------------------------------------------------------------------------------- it ends while it serves
_FORK = "if os.fork() == 0: rest()\n"
dies("exits with 0 in a call", "os._exit(0)", "exit status 0", systems=BOTH)
dies("aborts", "os.abort()", "SIGABRT")
dies("segfaults", "ctypes.string_at(0)", "SIGSEGV", systems=BOTH)
dies("is killed in a call", "os.kill(os.getpid(), 9)", "SIGKILL", systems=BOTH)
dies("is killed within a reply", "say(reply(TEXT)[:17])\nos.kill(os.getpid(), 9)", "SIGKILL", systems=BOTH)
dies("is killed within a large reply", "say(reply(lengths=(0, 1 << 20), flags=2) + b'x' * 5000)\nos.kill(os.getpid(), 9)", "SIGKILL", systems=BOTH)  # fmt: skip
dies("is killed in a stream", "yield 1\nyield 2\nos.kill(os.getpid(), 9)", "SIGKILL", method="count", systems=BOTH)
dies("is killed in a coroutine", "os.kill(os.getpid(), 9)", "SIGKILL", method="later", systems=BOTH)
dies("is killed while it calls the host", "return self.host.get('a-good', Zoo).greet(f'kill {os.getpid()}')", "SIGKILL", systems=BOTH)  # fmt: skip
dies("leaves a sleeper with its sockets, and exits", f"{_FORK}os._exit(3)", "exit status 3")
dies("uses all its processor time", "while True: pass", "SIG", settings={"limits": {"cpu": 1}})
dies("closes every descriptor", "os.closerange(3, 1000)\nrest()")
dies(
    "half-closes its channel", "socket.socket(fileno=os.dup(channel())).shutdown(socket.SHUT_WR)\nrest()", systems=BOTH
)
dies("half-closes all its channels", "for fd in sockets(): socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_WR)\nrest()", systems=BOTH)  # fmt: skip
dies("truncates a reply, and closes", "say(reply(TEXT)[:19])\nsocket.socket(fileno=os.dup(channel())).shutdown(socket.SHUT_RDWR)\nrest()", systems=BOTH)  # fmt: skip
_CRITICAL = {"critical": True}
dies("is critical, and is killed in a call", "os.kill(os.getpid(), 9)", "SIGKILL", settings=_CRITICAL, systems=BOTH)
dies("is critical, and segfaults", "ctypes.string_at(0)", "SIGSEGV", settings=_CRITICAL)
_LETS_IN = "import pluginhost.isolation.system as system\nif HOME.joinpath('notes').read_text():\n    system._PortableEntrance.take = lambda self: os.kill(os.getpid(), 9)\n    HOME.joinpath('notes').write_text('')"  # fmt: skip
dies("dies once more when it is let in", "note('died')\nos.kill(os.getpid(), 9)", extra=f"def validate(self):\n{indent(_LETS_IN, '    ')}", again="soon", systems=("portable",))  # fmt: skip
dies("dies of one payload alone", "note('poison')\nos._exit(1)", "exit status 1", notes=("poison",))

# --------------------------------------------------------------------------------------------------- it takes and holds
_EATS = "parts = []\nwhile True: parts.append(bytearray(1 << 20))"
add("eats memory", _EATS, "call-failed", known=("MemoryError",), settings={"limits": {"memory": 300}})
add(
    "asks for 100 GB",
    "bytearray(100 << 30)",
    "call-failed",
    known=("MemoryError",),
    settings={"limits": {"memory": 300}},
)
_LEAKS = "self.held = getattr(self, 'held', [])\nwhile True: self.held.append(os.open('/dev/null', os.O_RDONLY))"
add("leaks descriptors", _LEAKS, "call-failed", known=("Too many open files",), settings={"limits": {"files": 40}})
_LATE = {"call_timeout": 0.2, "breaker_failures": 2, "breaker_seconds": 0.1}
for _name, _deed in {"spins": "while True: pass", "answers pings alone": "rest()"}.items():
    add(_name, _deed, "call-timeout", more=("call-timeout",), told="child-died", again="soon", settings=_LATE)  # fmt: skip
_HELD = {"known": ("no sign of life",), "told": "child-silent child-died", "is_slow": True}
add("holds the interpreter in C", "ctypes.PyDLL(None).sleep(1000)", "channel-lost", **_HELD)
add("holds the interpreter in a regex", "re.match('(a+)+$', 'a' * 60 + 'b')", "channel-lost", systems=BOTH, **_HELD)
add("stops itself", "os.kill(os.getpid(), signal.SIGSTOP)\nrest()", "channel-lost", systems=BOTH, **_HELD)
add("forks 64 sleepers", f"for _ in range(64):\n    {_FORK}return 'forked'", gets="'forked'")
_STRAY = "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
add("has a grandchild in a session of its own", f"{_STRAY}return 'on'", gets="'on'")
_DAEMON = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: rest()\n    os._exit(0)\nos.wait()\nreturn 'on'"
add("makes a daemon of itself", _DAEMON, gets="'on'")
dies("leaves a grandchild in a session of its own, and exits", f"{_STRAY}os._exit(3)", "exit status 3")
_IGNORE = "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)"
add("ignores SIGTERM", _IGNORE, where="init")
add("has a thread that never ends", "threading.Thread(target=rest).start()", where="init", is_slow=True, systems=BOTH)
add("has an exit function that never ends", "import atexit\natexit.register(rest)", where="init", is_slow=True)

# -------------------------------------------------------------------------------------------------- what it writes
_FLOOD = "line = b'x' * 99 + b'\\n'\nfor _ in range(300):\n    for fd in (1, 2): os.write(fd, line * 300)\nreturn 'on'"
add("floods its output", _FLOOD, gets="'on'")
add("floods its output without a line end", _FLOOD.replace("b'\\n'", "b'x'"), gets="'on'")
add("writes terminal commands", "print('\\x1b[2J\\x07\\x9b31m\\u202e', flush=True)\nreturn 'on'", gets="'on'")
add("closes its output", "os.close(1)\nos.close(2)\nreturn 'on'", gets="'on'")
dies("closes its output, and exits", "os.close(1)\nos.close(2)\nos._exit(3)", "exit status 3")

# ------------------------------------------------------------------------------------------------------ the channel
garbles("answers with noise", "instead(b'\\xff' * 40)", "frame-too-large")
garbles("answers with text", "instead(b'HTTP/1.1 200 OK\\r\\n\\r\\n')", "frame-too-large")
garbles("announces 4 GiB of meta", "instead(reply(lengths=(0xFFFFFFFF, 0)))", "frame-too-large")
garbles("announces 4 GiB of body", "instead(reply(TEXT, lengths=(7, 0xFFFFFFFF)))", "frame-too-large")
garbles("has flags that there are not", "instead(reply(TEXT, flags=0x8000))")
garbles("answers twice at once", "instead(reply(TEXT) * 2)")
garbles("answers an earlier call", "instead(reply(TEXT, back=1))")
garbles("answers a later call", "instead(reply(TEXT, back=-1))")
garbles("answers another operation", "instead(reply(TEXT, other=1))")
garbles("answers in place of itself", "instead(reply(TEXT))", "", gets="'forged'")
add(
    "answers, and once more later",
    "say(reply(TEXT))\nuntil_read()\nreturn 'on'",
    gets="'forged'",
    more=("frame-malformed",),
)
_PICKLE = "import pickle\nclass Runs:\n    def __reduce__(self): return os.mkdir, (str(HOME / 'pwned'),)\n"
garbles("answers with a pickle", f"{_PICKLE}instead(reply(pickle.dumps(Runs())))", "reply-wrong")
garbles("answers with a pickle of anything", f"{_PICKLE}instead(reply(pickle.dumps(Runs())))", method="anything")
garbles("answers with 1 MB of nesting", "instead(reply(body=b'\\x91' * (1 << 20), flags=2))", method="anything")
garbles("answers with half a text", "instead(reply(b'\\xdaab'))")
garbles("answers with what is no UTF-8", "instead(reply(b'\\xa2\\xff\\xfe'))")
garbles("answers with a body where none belongs", "instead(reply(TEXT, b'x' * 10))")
garbles("answers with a failure that is none", "instead(reply(b'\\x93abc', flags=4))")
garbles(
    "answers with the arena's next byte", "instead(reply(lengths=(0, (16 << 20) + 1), flags=16))", "frame-too-large"
)
add("answers with an arena that there is not", "instead(reply(lengths=(0, 1 << 20), flags=17, meta=b'\\xc0'))", "frame-malformed", method="body", systems=("portable",))  # fmt: skip
_CALLS = "self.host.get('a-good', Zoo).greet('Ada')\n"  # it has the channels for that, then
_NOISE = f"{_CALLS}for fd in sockets(): os.write(fd, b'\\xff' * 40)\nrest()"
add("writes noise into all its sockets", _NOISE, "frame-too-large", told="frame-too-large")
# There the host looks at the control channel when it opens another: what comes over it can only be its end.
add("writes noise into all its connections", _NOISE, "frame-too-large", told="frame-too-large child-died", again="soon", systems=("portable",))  # fmt: skip
_RIGHTS = "fd = os.open('/dev/null', os.O_RDONLY)\nof, data = socket.socket(fileno=os.dup(channel())), reply(TEXT)\nsocket.send_fds(of, [data[:9]], [fd] * 200)\ninstead(data[9:])"
add("sends 200 descriptors", _RIGHTS, gets="'forged'")
_CONTROL = (
    "for fd in sockets():\n    if fd != channel(): os.write(fd, struct.pack('<IIIHH', 0, 0, 1, 3, 0) * 9)\nreturn 'on'"
)
add(
    "writes replies into all other sockets",
    f"import struct\n{_CALLS}{_CONTROL}",
    gets="'on'",
    told="frame-malformed",
    systems=BOTH,
)

# ------------------------------------------------------------------------------------------------- what it returns, raises
_DEEP = "found = 7\nfor _ in range(100_000): found = [found]\nreturn found"
add("returns 100,000 lists in one another", _DEEP, "reply-wrong", method="anything")
add("returns 80 lists in one another", _DEEP.replace("100_000", "80"), "frame-malformed", method="anything")
add("returns not a number", "return float('nan')", gets="nan", method="number")
add("returns a lone surrogate", "return '\\udcff'", "reply-wrong")
add("returns bytes where text belongs", "return b'bytes'", "reply-wrong")
add("returns 10**5000", "return 10**5000", "reply-wrong", method="whole")
add("returns a set where a list belongs", "return {'a'}", gets="['a']", method="names")
add("returns an object", "return object()", "reply-wrong", method="anything")
add("returns 17 MB", "return b'x' * (17 << 20)", "frame-too-large", method="body")
add("raises SystemExit", "sys.exit(0)", "call-failed", known=("SystemExit",))
add("raises KeyboardInterrupt", "raise KeyboardInterrupt", "call-failed", known=("KeyboardInterrupt",))
_GROUP = "g, e = ExceptionGroup('g', [ValueError(n) for n in range(10_000)]), ValueError('e')\ng.__cause__, e.__cause__ = e, g\nraise g"  # fmt: skip
add("raises a group of 10,000 with a cycle of causes", _GROUP, "call-failed", known=("10000 sub-exceptions",))
add(
    "raises what cannot be printed",
    "class E(Exception):\n    def __str__(self): raise SystemExit(3)\nraise E",
    "call-failed",
)

# --------------------------------------------------------------------------------------------------- what it finds
_LISTS = "def name(fd):\n    try: return os.readlink(f'/proc/self/fd/{fd}')\n    except OSError: return ''\n"
add("lists what it inherited", f"{_LISTS}return [name(fd) for fd in os.listdir('/proc/self/fd')]", method="names", systems=BOTH)  # fmt: skip
_READS = (
    "return [*os.environ.values(), open('/proc/self/environ').read(), *sys.argv, open('/proc/self/cmdline').read()]"
)
add("reads its environment", _READS, method="names", systems=BOTH)
