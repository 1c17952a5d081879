"""The zoo's family `wheels`: what may lie in a plugin folder, and the code that the host tells of it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from handmade import Handmade, member, row
from zoo.cases import BODY, HEAD, NEW, Case, _dangling, _endless, _fifo, _folder, _loop, _socket, _unreadable

if TYPE_CHECKING:
    from zoo.site_folder import SiteFolder

Put: TypeAlias = Callable[[Path], object]

NAME = "zoo_bad-1.2.3-py3-none-any.whl"
CENTRAL = b"PK\1\2"
END = b"PK\5\6"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a plugin folder.

    Attributes:
        put: Puts it there.
        code: The code that tells of it; empty when there is nothing to tell.
        checked: Whether it is a file that `wheels.check` can be asked about.
        serves: Whether the plugin of the file serves.
        rows: How many rows of the survey are the folder's.
        known: What the message names.
        needs: As for a `Case`.
        warns: Whether the finding is a warning.
    """

    put: Put
    code: str = ""
    checked: bool = True
    serves: bool = False
    rows: int = 0
    told: int = 1
    known: tuple[str, ...] = ("zoo-bad", "1.2.3")
    needs: str = ""


ENTRIES: dict[str, Entry] = {}


def entry(name: str, code: str, put: Put, **more: object) -> None:
    assert name not in ENTRIES
    ENTRIES[name] = Entry(put, code, **more)  # type: ignore[arg-type]


def made(name: str, code: str, change: Callable[[Handmade], object], **more: object) -> None:
    """A wheel that is written otherwise than it should be."""

    def put(folder: Path) -> None:
        wheel = Handmade()
        change(wheel)
        wheel.write(folder)

    entry(name, code, put, **more)


def patched(name: str, code: str, change: Callable[[bytes], bytes], **more: object) -> None:
    """A sound wheel whose bytes are changed afterwards."""
    entry(name, code, lambda folder: _write(folder, change(Handmade().data())), **more)


def special(name: str, code: str, make: Callable[[Path], object], **more: object) -> None:
    """What is no file, under the name of a wheel."""

    def put(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        make(folder / str(more.get("file", NAME)))

    more = {"known": (NAME,), "checked": False, **more}
    entry(name, code, put, **{key: value for key, value in more.items() if key != "file"})


def _write(folder: Path, data: bytes, name: str = NAME) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


def _file(name: str, content: str | bytes = "") -> Callable[[Handmade], object]:
    return lambda wheel: wheel.files.update({name: content})


# -- names and kinds of members

for title, name in {
    "a path that leads out": "../../evil.py",
    "a path that leads out in the middle": "zoo_bad/../../evil.py",
    "an absolute path": "/tmp/evil.py",
    "a backslash": "zoo_bad\\evil.py",
    "a drive": "C:/evil.py",
    "a stream of a file": "zoo_bad.py:evil",
    "a newline": "zoo_bad/ev\nil.py",
    "a carriage return": "zoo_bad/evil.py\r",
    "an escape sequence": "zoo_bad/\x1b[2Jevil.py",
    "a bidirectional override": "zoo_bad/\u202eevil.py",
    "300 characters": f"zoo_bad/{'e' * 290}.py",
    "a dot at the end": "zoo_bad/evil.",
    "a space at the end": "zoo_bad/evil.py ",
    "a part that is empty": "zoo_bad//evil.py",
    "a part that is a dot": "zoo_bad/./evil.py",
}.items():
    made(f"a name with {title}", "wheel-unsafe", _file(name))

patched("a name with a NUL", "wheel-unsafe", lambda data: data.replace(b"zoo_bad.py", b"zoo\0bad.py"))


def _moded(name: str, mode: int, content: bytes) -> Callable[[Handmade], object]:
    def change(wheel: Handmade) -> None:
        wheel.infos.append((member(name, mode), content))
        wheel.rows[name] = row(name, content)

    return change


made("a link to /etc/passwd", "wheel-unsafe", _moded("zoo_bad/passwd", 0o120777, b"/etc/passwd"))
made("a link to a folder outside", "wheel-unsafe", _moded("zoo_bad", 0o120777, b"/tmp"))
made("a device", "wheel-unsafe", _moded("zoo_bad/null", 0o020666, b""))
made("a pipe", "wheel-unsafe", _moded("zoo_bad/pipe", 0o010666, b""))
made("a file that says it is a folder", "wheel-unsafe", _moded("zoo_bad/file", 0o040755, b""))


def _twice(wheel: Handmade) -> None:
    wheel.infos.append((member("zoo_bad.py"), b"import os; os.abort()"))


made("the same member twice with another content", "wheel-unsafe", _twice)
made("members that differ in case", "wheel-unsafe", _file("ZOO_BAD.py"))
made(
    "members that differ in the form of their letters",
    "wheel-unsafe",
    lambda wheel: wheel.files.update({"zoo_bad/\u00e9.txt": "", "zoo_bad/e\u0301.txt": ""}),
)
made("a file that is a folder too", "wheel-unsafe", _file("zoo_bad.py/inner.txt"))

# -- the archive


def _many(wheel: Handmade) -> None:
    wheel.method = zipfile.ZIP_STORED
    wheel.infos += [(member(f"zoo_bad/{number}"), b"") for number in range(60_000)]


made("60,000 members", "wheel-unsafe", _many)


def _bomb(wheel: Handmade) -> None:
    wheel.files["zoo_bad/zeros"] = b"\0" * (20 << 20)


made("a member a thousand times as large", "wheel-unsafe", _bomb)


def _central(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Changes the first entry of the table alone."""

    def changed(data: bytes) -> bytes:
        at = data.index(CENTRAL)
        return data[:at] + change(data[at:])

    return changed


def _set(form: str, offset: int, value: int) -> Callable[[bytes], bytes]:
    size = struct.calcsize(form)
    return lambda data: data[:offset] + struct.pack(form, value) + data[offset + size :]


patched("a table that says a larger size", "wheel-unsafe", _central(_set("<L", 24, 5_000)))
patched("a table that says a huge size", "wheel-unsafe", _central(_set("<L", 24, 0xFFFFFFF0)))
patched("a table that says another checksum", "wheel-unsafe", _central(_set("<L", 16, 1)))
patched("a table that says another place", "wheel-unsafe", _central(_set("<L", 42, 10)))
patched(
    "a table with another name", "wheel-unsafe", _central(lambda data: data.replace(b"zoo_bad.py", b"zoo_bax.py", 1))
)
patched("a header with another name", "wheel-unsafe", lambda data: data.replace(b"zoo_bad.py", b"zoo_bax.py", 1))
patched("an encrypted member", "wheel-unsafe", lambda data: _central(_set("<H", 8, 1))(_set("<H", 6, 1)(data)))
patched("an unknown compression", "wheel-unsafe", lambda data: _central(_set("<H", 10, 14))(_set("<H", 8, 14)(data)))
patched("bytes before the first member", "wheel-unsafe", lambda data: b"#!/bin/sh\n" + data)
patched("bytes after the end", "wheel-unsafe", lambda data: data + b"more")
patched("a comment", "wheel-unsafe", lambda data: data[:-2] + b"\x04\0more")


def _shifted(data: bytes, at: int, inserted: bytes) -> bytes:
    """Puts bytes among the members, and lets the table and the end know."""
    start = data.index(CENTRAL)
    head, table, end = data[:start], data[start : data.index(END)], data[data.index(END) :]
    entries = [CENTRAL + each for each in table.split(CENTRAL)[1:]]
    moved = []
    for each in entries:
        [offset] = struct.unpack_from("<L", each, 42)
        moved.append(_set("<L", 42, offset + len(inserted) if offset >= at else offset)(each))
    end = _set("<L", 16, start + len(inserted))(end)
    return head[:at] + inserted + head[at:] + b"".join(moved) + end


patched("prefixed bytes that the table knows of", "wheel-unsafe", lambda data: _shifted(data, 0, b"#!/bin/sh\n"))
patched("bytes between two members", "wheel-unsafe", lambda data: _shifted(data, data.index(b"PK\3\4", 4), b"hidden"))
patched("bytes before the table", "wheel-unsafe", lambda data: _shifted(data, data.index(CENTRAL), b"hidden"))


def _overlapping(folder: Path) -> None:
    """Writes a zip bomb: each member's content is the header of the next, quoted, and then the next one's content."""
    wheel = Handmade()
    base = wheel.data()
    start = base.index(CENTRAL)
    plain = b"\0" * 900_000
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = deflate.compress(plain) + deflate.flush()
    told: list[tuple[bytes, bytes]] = []  # of each member what header and table have in common, and its name
    for number in reversed(range(20)):
        name = b"zoo_bad/%02d" % number
        common = struct.pack("<5H3L2H", 20, 0, 8, 0, 33, zlib.crc32(plain), len(stream), len(plain), len(name), 0)
        told.append((common, name))
        header = b"PK\3\4" + common + name
        block = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF)
        whole, stream, plain = header + stream, block + header + stream, header + plain
    table, at = base[start : base.index(END)], start
    for common, name in reversed(told):
        table += CENTRAL + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, at) + name
        at += 30 + len(name) + 5
    count = base.count(CENTRAL) + len(told)
    end = struct.pack("<4s4H2LH", END, 0, 0, count, count, len(table), start + len(whole), 0)
    _write(folder, base[:start] + whole + table + end)


entry("a zip bomb of overlapping members", "wheel-unsafe", _overlapping)
patched("half a wheel", "wheel-malformed", lambda data: data[: len(data) // 2])
patched("a wheel without its last byte", "wheel-unsafe", lambda data: data[:-1])
patched("an empty file", "wheel-malformed", lambda data: b"")
patched("text", "wheel-malformed", lambda data: b"404 Not Found\n" * 100)
patched("zeros", "wheel-malformed", lambda data: b"\0" * len(data))


def _flipped(data: bytes) -> bytes:
    at = data.index(b"greet(self")
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _stored_flipped(folder: Path) -> None:
    wheel = Handmade()
    wheel.method = zipfile.ZIP_STORED
    _write(folder, _flipped(wheel.data()))


entry("one bit of a module flipped", "wheel-record", _stored_flipped)

# -- what makes it a wheel

made("no RECORD line for a file", "wheel-record", lambda wheel: wheel.rows.update({"zoo_bad.py": None}))
made("a wrong hash in RECORD", "wheel-record", lambda wheel: wheel.rows.update({"zoo_bad.py": row("zoo_bad.py", b"x")}))
made("an absent file in RECORD", "wheel-record", lambda wheel: wheel.rows.update({"x": row("zoo_bad/x.py", b"x")}))
made("a file outside in RECORD", "wheel-record", lambda wheel: wheel.rows.update({"x": row("../../x", b"x")}))
made("no hash in RECORD", "wheel-record", lambda wheel: wheel.rows.update({"zoo_bad.py": "zoo_bad.py,,"}))
made(
    "md5 in RECORD",
    "wheel-record",
    lambda wheel: wheel.rows.update({"zoo_bad.py": row("zoo_bad.py", str(wheel.files["zoo_bad.py"]).encode(), "md5")}),
)
made(
    "an unknown hash in RECORD",
    "wheel-record",
    lambda wheel: wheel.rows.update({"zoo_bad.py": "zoo_bad.py,shake_128=x,1"}),
)
made("a line of RECORD with one field", "wheel-record", lambda wheel: wheel.rows.update({"x": "zoo_bad.py"}))
made("a line of RECORD twice", "wheel-record", lambda wheel: wheel.rows.update({"x": f"{wheel.info}/RECORD,,"}))


def _without(file: str) -> Callable[[Handmade], object]:
    return lambda wheel: wheel.files.pop(f"{wheel.info}/{file}")


made("no METADATA", "wheel-malformed", _without("METADATA"))
made("no WHEEL", "wheel-malformed", _without("WHEEL"))


def _renamed(old: str, new: str) -> Callable[[Handmade], object]:
    def change(wheel: Handmade) -> None:
        wheel.files = {name.replace(old, new): content for name, content in wheel.files.items()}
        wheel.info = wheel.info.replace(old, new)

    return change


made("no dist-info", "wheel-malformed", _renamed(".dist-info", ".txt"))
made("a dist-info of another name", "wheel-malformed", _renamed("zoo_bad-1", "zoo_other-1"))
made("a dist-info of another version", "wheel-malformed", _renamed("-1.2.3.", "-1.2.4."))
made(
    "a second dist-info", "wheel-malformed", _file("zoo_a_good-9.dist-info/METADATA", "Name: zoo-a-good\nVersion: 9\n")
)
made("an egg-info", "wheel-unsafe", _file("zoo_a_good-9.egg-info/PKG-INFO", "Name: zoo-a-good\nVersion: 9\n"))


def _edited(file: str, old: str, new: str) -> Callable[[Handmade], object]:
    return lambda wheel: wheel.edit(file, lambda text: text.replace(old, new))


made("a METADATA of another name", "wheel-malformed", _edited("METADATA", "zoo-bad", "zoo-other"))
made("a METADATA of another version", "wheel-malformed", _edited("METADATA", "1.2.3", "1.2.4"))
made(
    "a METADATA that is not UTF-8",
    "wheel-malformed",
    lambda wheel: wheel.files.update({f"{wheel.info}/METADATA": b"\xff"}),
)
made(
    "a METADATA of megabytes",
    "wheel-malformed",
    lambda wheel: wheel.edit("METADATA", lambda text: text + os.urandom(1 << 20).hex()),
)
made("the Wheel-Version 9.0", "wheel-malformed", _edited("WHEEL", "1.0", "9.0"))
made("no Wheel-Version", "wheel-malformed", _edited("WHEEL", "Wheel-Version: 1.0\n", ""))
made("another Python", "python-unsatisfied", _edited("METADATA", "Name:", "Requires-Python: <3\nName:"))
made("another pin", "pin-unsatisfied", _edited("METADATA", "~=1.0", "~=9.0"), rows=1, checked=False)
made(
    "entry points that are none",
    "metadata-malformed",
    _edited("entry_points.txt", " = ", " "),
    checked=False,
    known=("zoo_bad", "1.2.3"),
)

for title, name in {
    "no wheel": "plugin.whl",
    "a version that is none": "zoo_bad-x-py3-none-any.whl",
    "too few parts": "zoo_bad-1.2.3.whl",
    "a suffix in capitals": "zoo_bad-1.2.3-py3-none-any.WHL",
    "an editor's": "._zoo_bad-1.2.3.whl",
}.items():
    entry(
        f"a file name of {title}",
        "wheel-malformed",
        lambda folder, name=name: _write(folder, Handmade().data(), name),
        known=(name,),
    )  # type: ignore[misc]
entry(
    "a file name of another distribution",
    "wheel-malformed",
    lambda folder: _write(folder, Handmade().data(), "zoo_other-1.2.3-py3-none-any.whl"),
    known=("zoo-other", "1.2.3"),
)
entry(
    "another Python and platform",
    "wheel-incompatible",
    lambda folder: Handmade().write(folder, "zoo_bad-1.2.3-cp27-cp27m-win32.whl"),
)

# -- what it must not bring

made("a .pth file", "wheel-unsafe", _file("zoo_bad.pth", "import os; os.abort()\n"))
made("a compiled file", "wheel-unsafe", _file("zoo_bad/inner.pyc", b"\0"))
made("a __pycache__", "wheel-unsafe", _file("zoo_bad/__pycache__/zoo_bad.txt"))
made("a script", "wheel-unsafe", _file("zoo_bad-1.2.3.data/scripts/zoo", "#!python\n"))
made("data for another place", "wheel-unsafe", _file("zoo_bad-1.2.3.data/data/etc/zoo.conf"))
made("modules in its data", "wheel-unsafe", _file("zoo_bad-1.2.3.data/purelib/zoo.py"))
made("an installer's file", "wheel-unsafe", lambda wheel: wheel.files.update({f"{wheel.info}/direct_url.json": "{}"}))
made("its own pluginapi", "api-vendored", _file("pluginapi/__init__.py"))
made("a part of pluginapi", "api-vendored", _file("pluginapi/contracts.py"))
made("its own pluginapi as a module", "api-vendored", _file("pluginapi.py"))
made("its own pluginapi further down", "api-vendored", _file("zoo_bad/vendor/pluginapi/__init__.py"))


def _nested(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(member(name), b"")
    return out.getvalue()


made(
    "its own pluginapi in a zip",
    "api-vendored",
    lambda wheel: _file("zoo_bad/lib.zip", _nested("pluginapi/__init__.py"))(wheel),
)
made(
    "a zip of 60,000 members in it",
    "wheel-unsafe",
    lambda wheel: _file("zoo_bad/lib.zip", _nested(*map(str, range(60_000))))(wheel),
)
made("a module of Python", "module-shadows", _file("json/__init__.py"))
made("a module of the host", "module-shadows", _file("pluginhost/__init__.py"))
made("a module that Python imports by itself", "module-shadows", _file("sitecustomize.py"))
made("the module of an installed plugin", "wheel-clash", _file("zoo_a_good.py"), checked=False)
made("a package in the place of an installed module", "wheel-clash", _file("zoo_a_good/__init__.py"), checked=False)


def _same_module(folder: Path) -> None:
    Handmade().write(folder)
    Handmade("zoo-worse", "1.2.3", {"zoo_bad.py": "", "zoo_worse.py": ""}).write(folder)


entry(
    "the module of another wheel",
    "wheel-clash",
    _same_module,
    checked=False,
    serves=True,
    rows=1,
    known=("zoo-worse", "1.2.3"),
)

# -- what is no file

special("a pipe in the place of a wheel", "wheel-not-regular", _fifo, needs="posix")
special("a folder in the place of a wheel", "wheel-not-regular", _folder)
special("a loop of links in the place of a wheel", "wheel-not-regular", _loop, needs="posix")
special("a link to nothing in the place of a wheel", "wheel-not-regular", _dangling, needs="posix")
special("a link to zeros without end in the place of a wheel", "wheel-not-regular", _endless, needs="posix")
special("a socket in the place of a wheel", "wheel-not-regular", _socket, needs="posix")
special("a file that nobody may read", "path-unreadable", _unreadable, needs="user")
special("an editor's lock", "wheel-not-regular", _dangling, needs="posix", file=f".#{NAME}", known=(f".#{NAME}",))
special(
    "an editor's recovery file",
    "wheel-malformed",
    lambda path: path.write_bytes(b"b0VIM"),
    file=f".{NAME}",
    known=(NAME,),
)


def _folder_of_all(folder: Path) -> None:
    Handmade().write(folder)
    folder.chmod(0o777)


entry(
    "a folder that everybody may write",
    "world-writable",
    _folder_of_all,
    checked=False,
    known=("wheels",),
    needs="posix",
)
entry(
    "a wheel that everybody may write",
    "world-writable",
    lambda folder: Handmade().write(folder).chmod(0o666),
    checked=False,
    needs="posix",
)
entry("no folder", "plugin-dir-missing", lambda folder: None, checked=False, known=("wheels",))
entry(
    "a file in the place of the folder",
    "plugin-dir-missing",
    lambda folder: folder.write_text(""),
    checked=False,
    known=("wheels",),
)

# -- what serves


def _two_versions(folder: Path) -> None:
    Handmade().write(folder)
    Handmade(version="1.10.0").write(folder)


entry("a sound wheel", "", lambda folder: Handmade().write(folder), serves=True, rows=1)
entry("two versions", "distribution-shadowed", _two_versions, checked=False, serves=True, rows=1)
entry(
    "a faulty newer version",
    "wheel-malformed",
    lambda folder: (Handmade().write(folder), _write(folder, b"half", "zoo_bad-2.0-py3-none-any.whl")),
    checked=False,
    serves=True,
    rows=1,
    known=("zoo-bad", "2.0"),
)
made(
    "an import that ends the process",
    "import-failed",
    _file("zoo_bad.py", f"raise SystemExit\n{HEAD}class Bad(Greeter):\n{BODY}{NEW}"),
    rows=1,
    checked=False,
)


def _make(put: Put) -> Callable[[SiteFolder], object]:
    def make(site: SiteFolder) -> None:
        site.uninstall()
        put(site.wheels)
        site.plugin_dirs = [str(site.wheels)]
        # What was just written is old enough to be judged.
        site.code = "import time\nreal = time.time_ns\ntime.time_ns = lambda: real() + 10 ** 10"

    return make


WARNINGS = {"wheel-incompatible", "distribution-shadowed"}
STAGES = {"api-vendored": "admission", "module-shadows": "admission", "python-unsatisfied": "admission"}
STAGES |= {"pin-unsatisfied": "admission", "distribution-shadowed": "admission", "import-failed": "import", "": ""}

WHEEL_CASES = [
    Case(
        "wheels",
        name,
        _make(each.put),
        each.code,
        STAGES.get(each.code, "discovery"),
        serves=each.serves,
        rows=each.rows,
        told=each.told,
        known=each.known,
        needs=each.needs,
    )
    for name, each in ENTRIES.items()
]
