"""Bad plugins whose module cannot be imported or looked up, or does what it should not while it is."""

from __future__ import annotations

import importlib.util
import marshal
import os
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cases import BODY, CLASS, HEAD, NEW, Case, Make
from zoo.deeds import ALSO, DEEDS, HANG, MEMORY, RAISES, STAGES, needs

if TYPE_CHECKING:
    from zoo.site_folder import SiteFolder

CASES: list[Case] = []
GOOD = f"{CLASS}{NEW}"


def add(name: str, make: Make | str, code: str = "", stage: str = "", **more: object) -> None:
    """A plugin, by its module's source or by what damages it."""
    made = (lambda site: site.module(make)) if isinstance(make, str) else make
    options: dict[str, object] = {"serves": code in ("", "process-changed", "work-begun"), **more}
    CASES.append(Case("import", name, made, code, stage, **options))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ what a module does
for _title, _deed in RAISES.items():
    add(_title, f"{CLASS}{_deed}\n{NEW}", "import-failed", "import", needs=needs(_deed))
for _title, _deed in MEMORY.items():
    add(_title, f"{CLASS}{_deed}\n{NEW}", "memory-exhausted", "probe")
for _code, _deeds in DEEDS.items():
    for _title, _deed in _deeds.items():
        add(
            _title,
            f"{CLASS}{_deed}\n{NEW}",
            _code,
            STAGES[_code],
            needs=needs(_deed),
            also=ALSO.get(_title, ""),
            probe_timeout=HANG if _code in ("probe-hung", "exit-disturbed") else 20.0,
        )

# ---------------------------------------------------------------------------------------------------- what is missing
for _title, _source in {
    "imports what is not installed": "import zoo_nothing",
    "imports a part of what is not installed": "import zoo_nothing.sub",
    "imports from what is not installed": "from zoo_nothing import thing",
    "imports what its dependency lacks": "import zoo_bad_dependency",
    "imports a name that is not there": "from pluginapi import Greter",
    "imports a module that the API lacks": "import pluginapi.nothing",
    "imports from itself": "from zoo_bad import New",
    "imports from its parent": "from . import other",
    "imports from beyond its parent": "from ..other import thing",
    "imports by an empty name": "__import__('')",
    "imports by a name that is no text": "__import__(7)",
    "imports by a name of NUL": "__import__('zoo\\x00')",
    "raises an ImportError of odd attributes": "raise ImportError('no', name=7, path=object())",
    "raises an ImportError of a class of its own": "class E(ImportError):\n    name = property(lambda self: 1 / 0)\n    path = msg = name\nraise E('no')",
    "raises a ModuleNotFoundError of a class of its own": "class E(ModuleNotFoundError):\n    @property\n    def name(self): raise SystemExit(3)\nraise E('no')",
    "raises a ModuleNotFoundError of a text of its own": "class S(str):\n    def __eq__(self, other): raise SystemExit(3)\n    __hash__ = str.__hash__\n    def __format__(self, spec): raise SystemExit(3)\nraise ModuleNotFoundError('no', name=S('zoo_bad'))",
    "raises a ModuleNotFoundError of an empty name": "raise ModuleNotFoundError('no', name='')",
    "raises a ModuleNotFoundError of terminal commands": "raise ModuleNotFoundError('no', name='\\x1b[2J' * 1_000)",
    "raises an ImportError of 100 MB": "raise ImportError('x' * 100_000_000, name='y' * 10_000_000)",
}.items():
    add(
        _title,
        lambda site, source=_source: (
            site.write("zoo_bad_dependency.py", "import zoo_nothing\n"),
            site.module(f"{CLASS}{source}\n{NEW}"),
        ),
        "import-failed",
        "import",
    )
add("says that it is not there", "raise ModuleNotFoundError('no', name='zoo_bad')\n", "module-missing", "import")


# ------------------------------------------------------------------------------------------------------ its file
def _file(change: object) -> Make:
    return lambda site: change(site.root / "zoo_bad.py")  # type: ignore[operator]


def _bytes(data: bytes) -> Make:
    return lambda site: site.write("zoo_bad.py", data)


def _gone(path: Path, then: object = None) -> None:
    path.unlink()
    if then is not None:
        then(path)  # type: ignore[operator]


for _title, _then in {
    "a folder": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
}.items():
    add(
        f"its file is {_title}",
        _file(lambda path, then=_then: _gone(path, then)),
        "module-missing",
        "import",
        needs="posix",
    )
add("its file is not there", _file(_gone), "module-missing", "import")
add("its file cannot be read", _file(lambda path: path.chmod(0)), "import-failed", "import", needs="user")
add("its file is empty", "", "symbol-missing", "lookup")
add("its file is a comment", "# nothing\n", "symbol-missing", "lookup")
add("its file has nothing but a text", f"'''{GOOD.replace(chr(39), chr(34))}'''\n", "symbol-missing", "lookup")
add(
    "its file is a link to another",
    _file(lambda path: path.rename(path.with_name("zoo_bad_real.txt")) and path.symlink_to("zoo_bad_real.txt")),
    needs="posix",
)
for _title, _data in {
    "is binary": bytes(range(256)),
    "is UTF-16": GOOD.encode("utf-16"),
    "is of NUL bytes": b"\0" * 4096,
    "has a NUL byte": GOOD.encode() + b"x = 1\n\0\n",
    "is not UTF-8": b"x = '\xe4'\n" + GOOD.encode(),
    "is of no encoding": b"# coding: nothing\n" + GOOD.encode(),
    "is of another encoding than it says": b"# coding: utf-8\nx = '\xe4'\n",
    "has a mark and another encoding": b"\xef\xbb\xbf# coding: latin-1\n" + GOOD.encode(),
    "is of an encoding that is none of text": b"# coding: base64\n" + GOOD.encode(),
    "has no syntax": b"def New(:\n",
    "has a bracket that is open": b"x = (\n" * 3,
    "has brackets nested 100,000 deep": b"x = " + b"(" * 100_000 + b")" * 100_000,
    "has additions nested 100,000 deep": b"x = 1" + b" + 1" * 100_000,
    "has blocks nested 100 deep": "".join(f"{' ' * n}if 1:\n" for n in range(101)).encode() + b" " * 101 + b"pass",
    "has a number of 100,000 digits": b"x = " + b"9" * 100_000,
    "has await outside": GOOD.encode() + b"await x\n",
    "has a line of 10 MB that is wrong": b"x = '" + b"y" * 10_000_000,
    "has a future that is none": b"from __future__ import nothing\n",
    "is of a later Python": b"def New() -> (yield): pass\nx = = 1\n",
}.items():
    add(f"its file {_title}", _bytes(_data), "import-failed", "import")
for _title, _data in {
    "has a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "has CRLF": GOOD.replace("\n", "\r\n").encode(),
    "has CR alone": GOOD.replace("\n", "\r").encode(),
    "is of Latin-1 and says so": b"# coding: latin-1\nx = '\xe4'\n" + GOOD.encode(),
    "has no last line end": GOOD.rstrip("\n").encode(),
    "has 3 MB of comments": b"# zoo\n" * 500_000 + GOOD.encode(),
    "has a form feed": b"\x0c\n" + GOOD.encode(),
    "has names of other scripts": f"{GOOD}\u03c0 = 3\n".encode(),
}.items():
    add(f"its file {_title}", _bytes(_data))


def _cached(change: object) -> Make:
    """The bytecode that Python will take for the module's."""

    def make(site: SiteFolder) -> None:
        path = site.root / "zoo_bad.py"
        cached = Path(importlib.util.cache_from_source(str(path)))
        cached.parent.mkdir(exist_ok=True)
        seen = path.stat()
        head = importlib.util.MAGIC_NUMBER + (0).to_bytes(4, "little")
        head += (int(seen.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + seen.st_size.to_bytes(4, "little")
        cached.write_bytes(change(head, marshal.dumps(compile("raise ValueError\n", "x", "exec"))))  # type: ignore[operator]

    return make


for _title, _change, _code in [
    ("is another's", lambda head, code: head + code, "import-failed"),
    ("is cut off", lambda head, code: head + code[:10], "import-failed"),
    ("is empty after its head", lambda head, code: head, "import-failed"),
    ("is a number", lambda head, code: head + marshal.dumps(7), "import-failed"),
    ("is of another kind", lambda head, code: head + b"\xff" * 64, "import-failed"),
    ("is of another Python", lambda head, code: b"\0\0\0\0" + head[4:] + code, ""),
    ("is empty", lambda head, code: b"", ""),
    ("has an unknown flag", lambda head, code: head[:4] + b"\xff\0\0\0" + head[8:] + code, ""),
]:
    add(f"its bytecode {_title}", _cached(_change), _code, "import" if _code else "")

# --------------------------------------------------------------------------------------------------- its folders
for _title, _files, _entry, _code, _stage in [
    ("a folder without __init__", {"zoo_bad/other.py": GOOD}, "zoo_bad:New", "symbol-missing", "lookup"),
    ("a package", {"zoo_bad/__init__.py": GOOD}, "zoo_bad:New", "", ""),
    ("a package whose part is not there", {"zoo_bad/__init__.py": GOOD}, "zoo_bad.sub:New", "module-missing", "import"),
    ("a package whose part raises", {"zoo_bad/__init__.py": "", "zoo_bad/sub.py": "1 / 0\n"}, "zoo_bad.sub:New", "import-failed", "import"),
    ("a package that raises before its part", {"zoo_bad/__init__.py": "1 / 0\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "import-failed", "import"),
    ("a package that exits before its part", {"zoo_bad/__init__.py": "raise SystemExit(0)\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "import-failed", "import"),
    ("a package that loses its path", {"zoo_bad/__init__.py": "__path__ = []\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "module-missing", "import"),
    ("a package whose path is a number", {"zoo_bad/__init__.py": "__path__ = 7\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "import-failed", "import"),
    ("a package whose path raises", {"zoo_bad/__init__.py": "class P:\n    def __iter__(self): raise SystemExit(3)\n__path__ = P()\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "import-failed", "import"),
    ("a package that hides its part", {"zoo_bad/__init__.py": "import sys\nsys.modules['zoo_bad.sub'] = None\n", "zoo_bad/sub.py": GOOD}, "zoo_bad.sub:New", "symbol-missing", "lookup"),
    ("a package that imports in a circle", {"zoo_bad/__init__.py": "from zoo_bad.sub import New\n", "zoo_bad/sub.py": "from zoo_bad import New\n"}, "zoo_bad:New", "import-failed", "import"),
]:  # fmt: skip
    add(
        f"it is {_title}",
        lambda site, files=_files, entry=_entry: (
            _gone(site.root / "zoo_bad.py"),
            [site.write(path, source) for path, source in files.items()],
            site.entry_points(f"bad = {entry}"),
        ),
        _code,
        _stage,
    )
for _suffix in (".so", ".abi3.so"):
    add(
        f"a library that is none stands before it, {_suffix}",
        lambda site, suffix=_suffix: site.write(f"zoo_bad{suffix}", b"\x7fELF" + bytes(100)),
        "import-failed",
        "import",
        needs="posix",
    )

# ---------------------------------------------------------------------------------------------------- the lookup
for _near in ("new", "NEW", "New_", "_New", "Now", "NewPlugin", "make", "N\u0435w", "New\u0301"):
    add(f"has {_near!r} and no New", f"{CLASS}def {_near}(): return Bad()\n", "symbol-missing", "lookup")
for _title, _source in {
    "deletes New": f"{GOOD}del New\n",
    "has New for type checkers alone": f"TYPE_CHECKING = False\n{CLASS}if TYPE_CHECKING:\n    {NEW}",
    "has New in __all__ alone": f"{CLASS}__all__ = ['New']\n",
    "annotates New alone": f"{CLASS}New: object\n",
    "has 100,000 names and no New": f"{CLASS}globals().update((f'New{{n}}', n) for n in range(100_000))\n",
    "has names of terminal commands and no New": f"{CLASS}globals()['New\\x1b[2J\\u202e'] = globals()['Now' * 10**6] = 7\n",
    "has a __getattr__ that is no function": f"{CLASS}__getattr__ = 7\n",
    "has a module class whose New raises": f"import sys\nclass M(type(sys)):\n    @property\n    def New(self): raise SystemExit(0)\nsys.modules[__name__].__class__ = M\n{CLASS}",
    "puts another empty module under its name": f"{GOOD}import sys\nsys.modules[__name__] = type(sys)(__name__)\n",
    "puts a number under its name": f"{GOOD}import sys\nsys.modules[__name__] = 7\n",
    "puts the module os under its name": f"{GOOD}import os, sys\nsys.modules[__name__] = os\n",
    "empties itself": f"{GOOD}globals().clear()\n",
}.items():
    add(_title, _source, "symbol-missing", "lookup")
for _title, _source in {
    "makes New when asked": f"{CLASS}def __getattr__(name):\n    if name == 'New': return Bad\n    raise AttributeError(name)\n",
    "has a module class whose New serves": f"import sys\nclass M(type(sys)):\n    New = property(lambda self: Bad)\nsys.modules[__name__].__class__ = M\n{CLASS}",
    "calls itself os": f"{GOOD}__name__ = 'os'\n",
    "loses its __file__": f"{GOOD}del __file__\n",
    "has a number for a __file__": f"{GOOD}__file__ = 7\n",
    "has a __file__ that raises": f"{GOOD}class F:\n    def __str__(self): raise SystemExit(3)\n    __fspath__ = __repr__ = __str__\n__file__ = F()\n",
    "loses its __spec__": f"{GOOD}__spec__ = None\n",
    "loses its __loader__": f"{GOOD}del __loader__, __package__\n",
    "loses its builtins": f"{GOOD}__builtins__ = {{}}\n",
    "has a __path__ of another": f"{GOOD}__path__ = ['/zoo']\n",
    "has an __all__ that is a number": f"{GOOD}__all__ = 7\n",
    "removes itself after the import by a class": f"{HEAD}import sys\nclass Bad(Greeter):\n{BODY}    def __init__(self): sys.modules.pop(__name__, None)\nNew = Bad\n",
}.items():
    add(_title, _source)

# What a name's reading runs is the plugin's code as its import is.
for _title, _deed, _code in [
    ("ends the process", "import os\n        os._exit(0)", "probe-crashed"),
    ("spins", "while True: pass", "probe-hung"),
    ("forks", "import os\n        if not os.fork(): os._exit(0)\n        os.wait()", "process-forked"),
    ("changes the working folder", "import os\n        os.chdir('/')", "process-unsafe"),
    ("adds to sys.path", "import sys\n        sys.path.insert(0, '/zoo')", "process-changed"),
    ("raises KeyboardInterrupt", "raise KeyboardInterrupt", "symbol-missing"),
    ("raises a BaseException", "raise BaseException", "symbol-missing"),
    ("does nothing", "pass", ""),
]:
    _options = {"probe_timeout": HANG if _code == "probe-hung" else 20.0, "needs": needs(_deed)}
    _at = "lookup" if _code == "symbol-missing" else STAGES[_code]
    add(
        f"has a property on the way to its factory that {_title}",
        lambda site, deed=_deed: (
            site.module(
                f"{CLASS}class X:\n    @property\n    def y(self):\n        {deed}\n        return Y\nclass Y:\n    z = Bad\nX = X()\n"
            ),
            site.entry_points("bad = zoo_bad:X.y.z"),
        ),
        _code,
        _at,
        **_options,
    )
    add(
        f"has a __getattr__ that {_title}",
        f"{CLASS}def __getattr__(name):\n        {_deed}\n        if name == 'New': return Bad\n        raise AttributeError(name)\n",
        _code,
        _at,
        **_options,
    )

# ---------------------------------------------------------------------------------------------------- its APIVersion
UNFIT = {
    "'9.0'": "'9.0'",
    "'2'": "'2'",
    "'0.9'": "'0.9'",
    "'1.99', of which there is none yet": "'1.99'",
    "(9, 0)": "(9, 0)",
    "(0, 9, 9)": "(0, 9, 9)",
    "'banana'": "'banana'",
    "an empty text": "''",
    "an empty tuple": "()",
    "None": "None",
    "a number": "9",
    "a float": "9.0",
    "a tuple of texts": "('9', '0')",
    "a tuple with a negative": "(1, -1)",
    "of a million digits": "'9' * 10**6",
    "of a number of 100,000 digits": "(1 << 400_000, 0)",
    "of a million parts": "(9,) * 10**6",
    "of terminal commands": "'\\x1b[2J\\u202e' * 1_000",
    "an object": "object()",
    "an object that cannot be printed": "type('V', (), {'__repr__': lambda self: 1 / 0, '__eq__': lambda self, other: 1 / 0})()",
    "a text of its own that lies": "type('V', (str,), {'__eq__': lambda self, other: True, '__hash__': None, '__str__': lambda self: '1.0'})('9.0')",
    "of what exits when it is printed": "(type('V', (), {'__str__': lambda self: exec('raise SystemExit(3)')})(), 0)",
    "a tuple of its own that raises": "type('V', (tuple,), {'__iter__': lambda self: 1 / 0, '__getitem__': lambda self, at: 1 / 0})((9, 0))",
}
FIT = {
    "'1'": "'1'",
    "'1.0'": "'1.0'",
    "'1.0.0'": "'1.0.0'",
    "' 1.0 '": "' 1.0 '",
    "(1,)": "(1,)",
    "(1, 0)": "(1, 0)",
    "(1, 0, 0)": "(1, 0, 0)",
    "a list": "[1, 0]",
    "the API's own": "__import__('pluginapi').API_VERSION",
}
for _title, _value in UNFIT.items():
    add(f"its module has an APIVersion {_title}", f"{GOOD}APIVersion = {_value}\n", "api-version", "type")
for _title, _value in FIT.items():
    add(f"its module has an APIVersion {_title}", f"{GOOD}APIVersion = {_value}\n")
add(
    "puts an object without names in its module's place",
    f"{GOOD}import sys\nclass M:\n    __slots__ = ('New',)\nm = M()\nm.New = New\nsys.modules[__name__] = m\n",
)
# What a module has is what stands in it: asking a __getattr__ would run the plugin's code once more.
add(
    "its module has no APIVersion, and a __getattr__ that raises", f"{GOOD}def __getattr__(name): raise SystemExit(3)\n"
)
