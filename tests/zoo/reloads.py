"""Bad second versions of a plugin that serves: what each does, what the host says of it, and who serves then.

The plugin is a package of two modules, each with the number of its version, so that a call that is half of one and half
of another is seen. The driver installs version 1, has it called by two threads, installs version 2 over it, reloads,
and then mends it with version 3.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Literal, TypeAlias

Where: TypeAlias = Literal["here", "child"]

PIN = ("pluginapi~=1.0",)


class Site:
    """A folder of installed plugins, which the driver has on its path.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def install(
        self,
        version: str,
        files: dict[str, str],
        names: str = "bad = zoo_bad:New",
        *,
        distribution: str = "zoo-bad",
        requires: tuple[str, ...] = PIN,
    ) -> Path:
        """Returns the dist-info of a distribution that takes the place of what was installed of it, as pip does it."""
        self.uninstall(distribution)
        info = self.root / f"{distribution.replace('-', '_')}-{version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        own = {"METADATA": "\n".join([*lines, "", ""]), "entry_points.txt": f"[pluginhost.plugins]\n{names}\n"}
        every = files | {f"{info.name}/{name}": text for name, text in own.items()}
        record = []
        for name, text in every.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(text.encode())}")
        info.joinpath("RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,", ""]))
        return info

    def uninstall(self, distribution: str = "zoo-bad") -> None:
        """Removes a distribution, if it is there; what Python compiled stays, to be taken for the next one's."""
        for info in self.root.glob(f"{distribution.replace('-', '_')}-*.dist-info"):
            record = info / "RECORD"
            for line in record.read_text().splitlines() if record.is_file() else ():
                path = self.root / line.partition(",")[0]
                if path.is_file() and path.parent != info:
                    path.unlink()
            shutil.rmtree(info)

    @property
    def info(self) -> Path:
        """The bad plugin's dist-info."""
        [found] = self.root.glob("zoo_bad-*.dist-info")
        return found

    def replace(self, file: str, old: str, new: str) -> None:
        """Replaces some text of a file, which must be there; RECORD is written anew."""
        path = self.root / file if "/" in file else self.info / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        self.write(path, text.replace(old, new))

    def write(self, path: Path, text: str) -> None:
        """Writes a file of the bad plugin, and its line of RECORD."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        record, name = self.info / "RECORD", path.relative_to(self.root).as_posix()
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines = [line for line in record.read_text().splitlines() if not line.startswith(f"{name},")]
        record.write_text("\n".join([*lines, f"{name},sha256={digest},{len(text.encode())}", ""]))


Change: TypeAlias = Callable[[Site], object]


def source(
    number: int,
    *,
    package: str = "zoo_bad",
    head: str = "",
    init: str = "",
    validate: str = "",
    shutdown: str = "",
    more: str = "",
    new: str = "def New(): return Bad()",
    base: str = "Greeter",
    greet: str = "return f'{NUMBER} {part.NUMBER} {name}'",
) -> dict[str, str]:
    """Returns the files of one version of a plugin.

    Args:
        number: Which version it is.
        package: Its package.
        head: What stands before its class.
        init: Statements of its `init`; `host` is the host.
        validate: Statements of its `validate`.
        shutdown: Statements of its `shutdown`, once that is noted.
        more: More of its class, which may define these anew.
        new: What makes it.
        base: What its class derives from.
        greet: The statements of its `greet`.
    """
    text = (
        f"import os, sys, threading, time\nfrom pluginapi import Greeter, Transformer, Plugin\n"
        f"from {package} import part\nNUMBER = {number}\nHOME = os.environ['HOME']\n"
        f"def note(text, open=open):\n"
        f"    with open(HOME + '/notes', 'a') as file: file.write(f'{{text}}\\n')\n"
        f"{head}\nclass Bad({base}):\n    lang = 'Bad'\n"
    )
    for name, arguments, deed in [
        ("greet", "self, name", greet),
        ("init", "self, host", init or "pass"),
        ("validate", "self", validate or "pass"),
        ("shutdown", "self", f"note(f'shutdown of {package} {{NUMBER}}')\n{shutdown}"),
    ]:
        if deed != "none":
            text += f"    def {name}({arguments}):\n{indent(deed, '        ')}\n"
    return {
        f"{package}/__init__.py": f"{text}{indent(more, '    ')}\n{new}\n",
        f"{package}/part.py": f"NUMBER = {number}\n",
    }


@dataclass(frozen=True, eq=False)
class Case:
    """A second version that is bad, or a first one that does not let it in.

    Attributes:
        family: How far the second version comes.
        name: What is wrong.
        code: The code of what the reload raises; empty when the second version serves.
        stage: The stage of that.
        second: What the second version is like: see `source`.
        first: What the first one is like.
        third: What the third one is like, which is good.
        change: What becomes of the second one's files once it is installed.
        ends: How often the second version is shut down when it does not come to serve.
        told: The codes of what is told besides, parted by blanks.
        known: What the message names besides.
        version: The version that the message names.
        settings: What is set for the plugin.
        more: What is set for all.
        where: In which processes it is tried.
    """

    family: str
    name: str
    code: str = ""
    stage: str = ""
    second: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    third: dict[str, str] = field(default_factory=dict)
    change: Change = lambda site: None
    ends: int = 0
    told: str = ""
    known: tuple[str, ...] = ()
    version: str = "2.0.0"
    settings: dict[str, object] = field(default_factory=dict)
    more: dict[str, object] = field(default_factory=dict)
    where: tuple[Where, ...] = ("here",)

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


CASES: list[Case] = []
IN_CHILD = {
    "installed": ("pins an API to come", "is gone", "is half-written: RECORD is not there"),
    "import": ("raises", "raises SystemExit", "needs a module that is not there", "takes too long"),
    "New": ("raises", "returns a dict", "makes what is of another contract now"),
    "init": ("init raises", "validate raises", "init is half done, and raises", "init asks for itself"),
    "state": (
        "there is no restore_state",
        "its version is not taken",
        "restore_state raises",
        "export_state raises",
        "export_state returns an object",
        "export_state returns a cycle",
        "restore_state raises, and it begins cold",
        "it is a snapshot that is refused",
    ),
    "after": ("the first one's shutdown raises",),
}
"""What is tried in a process of its own, too: it takes another way there."""


def add(family: str, name: str, code: str = "", stage: str = "", **more: object) -> None:
    where = ("here", "child") if name in IN_CHILD[family] else ("here",)
    CASES.append(Case(family, name, code, stage, **{"where": where, **more}))  # type: ignore[arg-type]


def in_child(family: str, name: str, code: str, stage: str, **more: object) -> None:
    add(family, f"in a process of its own, {name}", code, stage, where=("child",), **more)


# ----------------------------------------------------------------------------------------- refused before its import
def disk(name: str, change: Change, code: str, **more: object) -> None:
    add("installed", name, code, **{"stage": "admission", "change": change, **more})


def _pin(*lines: str) -> Change:
    return lambda site: site.replace(
        "METADATA", f"Requires-Dist: {PIN[0]}\n", "".join(f"Requires-Dist: {line}\n" for line in lines)
    )


def _unlink(name: str) -> Change:
    return lambda site: (site.info / name if "/" not in name else site.root / name).unlink()


def _cut(name: str) -> Change:
    def change(site: Site) -> None:
        path = site.info / name if "/" not in name else site.root / name
        path.write_bytes(path.read_bytes()[:-7])

    return change


def _copy_of_api(site: Site) -> None:
    import pluginapi

    site.write(site.root / "zoo_bad/pluginapi/__init__.py", Path(str(pluginapi.__file__)).read_text())
    for path in Path(str(pluginapi.__file__)).parent.glob("*.py"):
        site.write(site.root / "zoo_bad/pluginapi" / path.name, path.read_text())


disk("pins an API to come", _pin("pluginapi>=9"), "pin-unsatisfied", known=("pluginapi",))
disk("has no pin", _pin(), "pin-missing")
disk("has a pin that is none", _pin("pluginapi~=~1"), "pin-malformed")
disk(
    "is for another Python",
    lambda site: site.replace("METADATA", "\nVersion", "\nRequires-Python: <3\nVersion"),
    "python-unsatisfied",
)
disk("needs what is not installed", _pin(*PIN, "zoo-nothing>=1"), "dependency-missing", known=("zoo-nothing",))
disk(
    "has an entry point that is none",
    lambda site: site.replace("entry_points.txt", " = zoo_bad:New", ""),
    "plugin-unknown",
    stage="usage",
    version="1.0.0",
)
disk(
    "has an entry point of another's module",
    lambda site: site.replace("entry_points.txt", "zoo_bad:", "zoo_good_a:"),
    "module-foreign",
)
disk(
    "has an entry point of Python's",
    lambda site: site.replace("entry_points.txt", "zoo_bad:", "json:"),
    "module-shadows",
)
disk(
    "has a version that is none",
    lambda site: site.replace("METADATA", "Version: 2.0.0", "Version: banana"),
    "version-invalid",
    version="banana",
)
disk("carries a copy of the API", _copy_of_api, "api-vendored")
disk(
    "is called like another's",
    lambda site: site.install("1.0.0", {"zoo_other.py": ""}, "bad = zoo_other:New", distribution="zoo-other"),
    "name-clash",
    known=("zoo-other",),
)
disk("is gone", lambda site: site.uninstall(), "plugin-unknown", stage="usage", version="1.0.0")
disk(
    "has no entry points",
    lambda site: site.write(site.info / "entry_points.txt", ""),
    "plugin-unknown",
    stage="usage",
    version="1.0.0",
)
disk(
    "registers in another group",
    lambda site: site.replace("entry_points.txt", "[pluginhost", "[zoo"),
    "plugin-unknown",
    stage="usage",
    version="1.0.0",
)
disk(
    "has a manifest that is none",
    lambda site: site.write(site.info / "extra_metadata/pluginapi.json", "{"),
    "manifest-malformed",
)
disk(
    "has an empty METADATA",
    lambda site: site.write(site.info / "METADATA", ""),
    "plugin-unknown",
    stage="usage",
    version="1.0.0",
)
for _name in ("METADATA", "entry_points.txt"):
    disk(f"is half-written: {_name} is not there", _unlink(_name), "plugin-unknown", stage="usage", version="1.0.0")
disk("is half-written: METADATA is cut off", _cut("METADATA"), "pin-missing")
for _name in ("RECORD", "zoo_bad/__init__.py", "zoo_bad/part.py"):
    disk(f"is half-written: {_name} is not there", _unlink(_name), "distribution-incomplete", stage="discovery")
for _name in ("RECORD", "entry_points.txt", "zoo_bad/__init__.py", "zoo_bad/part.py"):
    disk(f"is half-written: {_name} is cut off", _cut(_name), "distribution-incomplete", stage="discovery")


# ------------------------------------------------------------------------------------------------------- its import
def at_import(name: str, head: str, code: str, **more: object) -> None:
    add("import", name, code, "import", **{"second": {"head": head}, **more})


for _name, _deed in {
    "raises": "raise ValueError('no \\x1b[2J')",
    "raises 10 MB": "raise ValueError('\\x1b' * 10_000_000)",
    "has no syntax": "def f(:",
    "needs a module that is not there": "import zoo_nothing",
    "raises a BaseException": "raise BaseException",
    "raises SystemExit": "raise SystemExit(0)",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "raises what cannot be printed": "class E(Exception):\n    def __str__(self): raise SystemExit(3)\n    __repr__ = __str__\nraise E",
    "exhausts the stack": "def f(): f()\nf()",
    "removes itself, and raises": "del sys.modules[__name__]\n1 / 0",
    "leaves a module beside it, and raises": "from zoo_bad import part\nsys.modules['zoo_bad.more'] = part\n1 / 0",
}.items():
    at_import(_name, _deed, "import-failed")
at_import(
    "takes too long", "time.sleep(1.3)", "import-timeout", settings={"import_timeout": 1.0}, told="import-timeout"
)
add(
    "import",
    "imports what its part has no more",
    "import-failed",
    "import",
    change=lambda site: site.write(site.root / "zoo_bad/__init__.py", "from zoo_bad.part import NOTHING\n"),
)
add("import", "has no factory", "symbol-missing", "lookup", second={"new": ""})
at_import(
    "removes the good ones, and raises",
    "for name in [*sys.modules]:\n    if name.startswith('zoo_good'): del sys.modules[name]\n1 / 0",
    "import-failed",
    told="process-changed",
)
at_import(
    "changes the process, and raises",
    "sys.path.insert(0, '/zoo')\nos.environ['ZOO'] = 'x'\nos.chdir('/')\nsys.meta_path.clear()\nsys.stdout = None\n1 / 0",
    "import-failed",
    told="process-unsafe process-changed",
)
add(
    "import",
    "replaces the API's module",
    "api-replaced",
    "type",
    second={"head": "sys.modules['pluginapi'] = type(sys)('pluginapi')"},
)
add(
    "import",
    "empties the modules of the good ones",
    second={"head": "for name in [*sys.modules]:\n    if name.startswith('zoo_good'): sys.modules[name] = None"},
    told="process-changed",
)
add("import", "changes sys.path", second={"head": "sys.path.insert(0, '/zoo')"}, told="process-changed")
add("import", "removes itself from sys.modules", "import-failed", "import", second={"new": "del sys.modules[__name__]"})
for _name, _deed, _code in [
    ("ends the process", "os._exit(0)", "probe-crashed"),
    ("reads address 0", "import ctypes\nctypes.string_at(0)", "probe-crashed"),
    ("hangs", "while True: time.sleep(1000)", "probe-hung"),
    ("adds an audit hook", "sys.addaudithook(lambda *args: None)", "process-unsafe"),
]:
    _set = {"probe": "new", "probe_timeout": 2.5 if _code == "probe-hung" else 20.0}
    add("import", f"{_name} at first sight", _code, "probe", second={"head": _deed}, more=_set)

# --------------------------------------------------------------------------------------------------------- its New()
for _name, _new, _code in [
    ("is not there", "New = 7", "factory-not-callable"),
    ("takes arguments", "def New(host): return Bad()", "factory-arguments"),
    ("raises", "def New(): raise ValueError('no')", "factory-failed"),
    ("raises SystemExit", "def New(): raise SystemExit(0)", "factory-failed"),
    ("raises KeyboardInterrupt", "def New(): raise KeyboardInterrupt", "factory-failed"),
]:
    add("New", _name, _code, "new", second={"new": _new})
add(
    "New",
    "takes too long",
    "new-timeout",
    "new",
    second={"new": "def New():\n    time.sleep(1.3)\n    return Bad()"},
    settings={"new_timeout": 1.0},
    told="new-timeout",
)
_SECOND_API = "import importlib.util\nspec = importlib.util.find_spec('pluginapi.contracts')\nother = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(other)\nGreeter = other.Greeter"
for _name, _second, _code in [
    ("returns a dict", {"new": "def New(): return {}"}, "wrong-type"),
    ("returns nothing", {"new": "def New(): pass"}, "wrong-type"),
    ("makes what is of a second API", {"head": _SECOND_API}, "second-api-copy"),
    ("makes what states another API", {"more": "APIVersion = '9.0'"}, "api-version"),
    ("makes what is asynchronous now", {"more": "async def greet(self, name): return name"}, "contract-broken"),
    ("makes what takes other arguments now", {"more": "def greet(self, name, more): return name"}, "contract-broken"),
    ("makes what has no language any more", {"more": "del lang"}, "contract-broken"),
    (
        "makes what is of another contract now",
        {"base": "Transformer", "more": "def transform(self, text): return text"},
        "contract-broken",
    ),
    ("makes what is of no contract any more", {"base": "Plugin"}, "contract-broken"),
    (
        "makes what has a state of an odd version",
        {"more": "state_version = '2'\ndef restore_state(self, state): pass"},
        "contract-broken",
    ),
    (
        "makes what takes odd versions of a state",
        {"more": "state_accepts = 7\ndef restore_state(self, state): pass"},
        "contract-broken",
    ),
]:
    _ends = 1 if "a state" in _name or "contract" in _name else 0
    add(
        "New",
        _name,
        _code,
        "type",
        second=_second,
        ends=_ends,
        first={"more": "def export_state(self): return 1"} if "a state" in _name else {},
    )
_TWO = {"base": "Greeter, Transformer", "more": "def transform(self, text): return text"}
add("New", "makes what has no greet any more", "factory-failed", "new", second={"greet": "none"})
add(
    "New",
    "makes what is of one contract of two",
    "contract-broken",
    "type",
    first=_TWO,
    third=_TWO,
    ends=1,
)
add(
    "New",
    "returns what serves already",
    "wrong-type",
    "type",
    first={"head": "import builtins", "new": "def New():\n    builtins.zoo = Bad()\n    return builtins.zoo"},
    second={"head": "import builtins", "new": "def New(): return builtins.zoo"},
)

# ----------------------------------------------------------------------------------------------- init and validate
for _name, _deed in {
    "raises": "raise ValueError('no')",
    "raises SystemExit": "raise SystemExit(0)",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "returns something": "return ValueError('no')",
}.items():
    add("init", f"init {_name}", "init-failed", "init", second={"init": _deed})
    add("init", f"validate {_name}", "validate-failed", "init", second={"validate": _deed}, ends=1)
for _name in ("init", "validate"):
    _late = {"second": {_name: "time.sleep(1.3)"}, "settings": {"init_timeout": 1.0}, "told": "init-timeout"}
    add("init", f"{_name} takes too long", "init-timeout", "init", ends=1, **_late)
    in_child("init", f"{_name} takes too long", "init-timeout", "init", **_late | {"second": {_name: "time.sleep(30)"}})
add(
    "init",
    "init is half done, and raises",
    "init-failed",
    "init",
    second={
        "init": "host.subscribe(lambda event: note('heard'))\nhost.get('a-good', Greeter)\nhost.logger.info('x')\nraise ValueError('no')"
    },
)
add(
    "init",
    "init asks for what is not there",
    "init-failed",
    "init",
    second={"init": "host.get('nobody', Greeter)"},
    known=("plugin-unknown",),
)
add("init", "init asks for itself", second={"init": "assert host.get('bad', Greeter).greet('Ada') == '1 1 Ada'"})
add(
    "init",
    "validate fails, and shutdown raises",
    "validate-failed",
    "init",
    second={"validate": "1 / 0", "shutdown": "1 / 0"},
    ends=1,
    told="shutdown-failed",
)
add(
    "init",
    "validate fails, and shutdown hangs",
    "validate-failed",
    "init",
    second={"validate": "1 / 0", "shutdown": "time.sleep(4)"},
    settings={"shutdown_timeout": 0.1},
    ends=1,
    told="shutdown-timeout",
)

# --------------------------------------------------------------------------------------------------------- the state
STATE = {
    "more": "count = 5\ndef export_state(self): return {'count': self.count}\ndef restore_state(self, state): self.count = state['count']"
}
_RESTORES = "\ndef restore_state(self, state): note(f'restored {state}')"


def state(name: str, code: str, first: str = "", second: str = "", **more: object) -> None:
    """A state that cannot be handed over; of a version that is shut down once, since it was started."""
    options: dict[str, object] = {"ends": 1, **more}
    one = {"more": f"def export_state(self): return 7{_RESTORES}\n{first}"}
    options = {"stage": "reload", "first": one, "second": {"more": f"{_RESTORES}\n{second}"}, **options}
    add("state", name, code, **options)


state("there is no restore_state", "state-refused", second="restore_state = None")
state("its version is not taken", "state-refused", second="state_version = 2", known=("version 1", "it takes 2"))
state("none of its versions is taken", "state-refused", second="state_accepts = ()")
for _name, _deed in {
    "raises": "1 / 0",
    "raises SystemExit": "raise SystemExit",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
}.items():
    state(f"restore_state {_name}", "state-refused", second=f"def restore_state(self, state): {_deed}")
    state(f"export_state {_name}", "state-failed", f"def export_state(self): {_deed}", version="1.0.0")
state("restore_state needs more", "state-refused", second="def restore_state(self): pass")
for _name, _value in {
    "an object": "object()",
    "itself": "self",
    "a cycle": "(lambda x: x.append(x) or x)([])",
    "a number of 100 digits": "10 ** 100",
    "a text that cannot be encoded": "'\\udcff'",
    "what is nested 100,000 deep": "__import__('functools').reduce(lambda x, _: [x], range(100_000), [])",
    "a table with a table for a key": "Keyed()",
    "what raises SystemExit when it is read": "Exits()",
}.items():
    _kinds = (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Inner: x: int = 1\n"
        "def Keyed(): return {Inner(): 1}\n@dataclass\nclass Exits:\n    x: int = 1\n"
        "    def __getattribute__(self, name): raise SystemExit(3)\n"
    )
    _is_packed = "for a key" in _name
    add(
        "state",
        f"export_state returns {_name}",
        "state-refused" if _is_packed else "state-failed",
        "reload",
        first={"more": f"def export_state(self): return {_value}{_RESTORES}", "head": _kinds},
        second={"more": _RESTORES},
        ends=1,
        version="2.0.0" if _is_packed else "1.0.0",
    )
_BIG = "def export_state(self): return bytes(100_000_000)\ndef restore_state(self, state): note(len(state))"
add("state", "it has 100 MB", first={"more": _BIG}, second={"more": _BIG})
add(
    "state",
    "it has 100 MB, and a child",
    "state-failed",
    "reload",
    first={"more": _BIG},
    second={"more": _BIG},
    ends=1,
    version="1.0.0",
    where=("child",),
)
for _name, _more in {
    "the first one's version": "state_version = '1'",
    "the first one's word of a snapshot": "state_snapshot = 1",
}.items():
    state(f"{_name} is of an odd type", "contract-broken", _more, stage="type", version="1.0.0")
state(
    "its version is not taken, and it begins cold",
    "",
    second="state_version = 2",
    settings={"cold_start": True},
    told="state-refused",
    stage="",
)
state(
    "restore_state raises, and it begins cold",
    "",
    second="def restore_state(self, state): 1 / 0",
    settings={"cold_start": True},
    told="state-refused",
    stage="",
)
state(
    "restore_state raises, and begun cold, init does",
    "init-failed",
    second="def restore_state(self, state): open(HOME + '/cold', 'w').close(); 1 / 0\ndef init(self, host): assert not os.path.exists(HOME + '/cold')",
    settings={"cold_start": True},
    told="state-refused",
    stage="init",
)
state(
    "it is a snapshot that is refused",
    "state-refused",
    "state_snapshot = True",
    "def restore_state(self, state): 1 / 0",
)

# -------------------------------------------------------------------------------------------------------- after that
_LEFT = {"settings": {"shutdown_timeout": 0.2}}
_UNTIL_GO = "while not os.path.exists(HOME + '/go'): time.sleep(0.01)"  # until all is seen
_HANGS = f"def greet(self, name):\n    if name == 'hang':\n        {_UNTIL_GO}\n    return f'{{NUMBER}} {{part.NUMBER}} {{name}}'"
add("after", "the first one's shutdown raises", first={"shutdown": "1 / 0"}, told="shutdown-failed")
add(
    "after",
    "the first one's shutdown raises SystemExit",
    first={"shutdown": "raise SystemExit(0)"},
    told="shutdown-failed",
)
add("after", "the first one's shutdown returns something", first={"shutdown": "return 7"}, told="shutdown-failed")
add(
    "after",
    "the first one's shutdown hangs",
    first={"shutdown": _UNTIL_GO},
    told="shutdown-timeout leak",
    **_LEFT,
)
add(
    "after",
    "a call of the first one hangs",
    first={"more": _HANGS},
    told="drain-timeout leak",
    more={"shutdown_timeout": 1.0},
)
for _name, _hook, _code, _stage in [
    ("import", "head", "child-failed", "isolation"),
    ("New()", "new", "child-failed", "isolation"),
    ("init", "init", "init-failed", "init"),
    ("validate", "validate", "validate-failed", "init"),
]:
    _deed = "def New(): os._exit(0)" if _hook == "new" else "os._exit(0)"
    in_child(
        _hook if _hook == "init" else {"head": "import", "new": "New", "validate": "init"}[_hook],
        f"{_name} ends the process",
        _code,
        _stage,
        second={_hook: _deed},
    )
in_child(
    "state",
    "restore_state ends the process",
    "state-refused",
    "reload",
    first={"more": "def export_state(self): return 7"},
    second={"more": "def restore_state(self, state): os._exit(0)"},
)
_SLOW = {"settings": {"init_timeout": 1.2}}
add(
    "state",
    "export_state hangs",
    "state-failed",
    "reload",
    first={"more": f"def export_state(self): time.sleep(4){_RESTORES}"},
    second={"more": _RESTORES},
    ends=1,
    version="1.0.0",
    **_SLOW,
)
add(
    "state",
    "restore_state hangs",
    "state-refused",
    "reload",
    first={"more": f"def export_state(self): pass{_RESTORES}"},
    second={"more": "def restore_state(self, state): time.sleep(4)"},
    ends=1,
    **_SLOW,
)
add(
    "state",
    "restore_state calls the plugin itself, and waits for itself",
    "state-refused",
    "reload",
    first={"more": f"def export_state(self): pass{_RESTORES}"},
    second={
        "init": "self.me = host.get('bad', Greeter)",
        "more": "def restore_state(self, state): self.me.greet('Ada')",
    },
    ends=1,
    **_SLOW,
)
add(
    "state",
    "a call does not end meanwhile",
    "state-failed",
    "reload",
    first={"more": f"def export_state(self): pass{_RESTORES}\n{_HANGS}"},
    second={"more": _RESTORES},
    ends=1,
    version="1.0.0",
    more={"shutdown_timeout": 1.0},
)
