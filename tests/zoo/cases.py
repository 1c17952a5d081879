"""The zoo's table: every bad plugin, how it is made, and what the host says of it.

The families `import`, `new`, `init`, `calls`, `shutdown` and `wheels` stand in files of their own.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from zoo.site_folder import BAD, SiteFolder

import pluginapi

Make: TypeAlias = Callable[[SiteFolder], object]
Family: TypeAlias = Literal["metadata", "names", "pins", "type", "import", "new", "init", "calls", "shutdown", "wheels"]

API = Path(pluginapi.__file__).parent
HEAD = "from pluginapi import Greeter\n"
BODY = '    lang = "Bad"\n    def greet(self, name): return f"bad {name}"\n'
CLASS = f"{HEAD}class Bad(Greeter):\n{BODY}"
NEW = "def New(): return Bad()\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One bad call of a plugin, by a method of its own.

    Attributes:
        name: What is wrong with it.
        deed: The method's statements.
        code: The code that the caller must be told; empty when it gets something else.
        gets: What the caller gets where there is no code: a value as Python writes it, or the name of an exception.
        returns: The annotation of the contract's method.
        kind: What the method is.
        way: How it is called: in a running loop of asyncio, or not.
        known: What the message names beside distribution, version and method.
        goes_on: Whether the plugin's next call must succeed, and is tried.
        wait: Seconds before the call, for what takes time.
    """

    name: str
    deed: str
    code: str = "call-failed"
    gets: str = ""
    returns: str = "str"
    kind: Literal["plain", "coroutine", "generator", "asynchronous generator"] = "plain"
    way: Literal["", "loop"] = ""
    known: tuple[str, ...] = ()
    goes_on: bool = True
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One bad plugin.

    Attributes:
        family: Which part of the zoo it belongs to.
        name: What is wrong with it.
        make: Damages the bad plugin of a site folder.
        code: The code that the host must tell; empty when there is nothing to tell.
        stage: The stage that the host must tell.
        serves: Whether the plugin serves all the same.
        rows: How many rows of the survey are the bad plugins'.
        told: How many findings tell of it.
        known: What the message names: distribution and version, unless the case takes them away.
        also: The codes that may be told beside it, parted by blanks.
        probe: When the first load is tried in a process of its own.
        probe_timeout: The probe's deadline in seconds, short where the case waits for it.
        needs: What the system must have: `posix`, or `user` for what root may do.
        notes: What the plugin writes down with `note`, line by line; `None` when it has no such function.
        ends: How it comes to its end: `stop`, as an operator has it; `close`, with the manager; `exit`, which is left
            to the end of the process.
        shutdown_timeout: The manager's, in seconds; short where the case waits for it.
        changes: What of the process stays changed, parted by commas: what runs from `init` on may do that.
        calls: The bad calls that the driver makes, one after the other.
    """

    family: Family
    name: str
    make: Make
    code: str = ""
    stage: str = ""
    serves: bool = False
    rows: int = 1
    told: int = 1
    known: tuple[str, ...] = ("zoo-bad", "1.2.3")
    needs: str = ""
    also: str = ""
    probe: Literal["new", "never"] = "new"
    probe_timeout: float = 20.0
    notes: tuple[str, ...] | None = None
    ends: Literal["stop", "close", "exit"] = "close"
    shutdown_timeout: float = 10.0
    changes: str = ""
    calls: tuple[Call, ...] = ()

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


CASES: list[Case] = []


def unread(family: Family, name: str, make: Make, code: str, **more: object) -> None:
    """A distribution that discovery leaves out, with a finding of its own."""
    CASES.append(Case(family, name, make, code, "discovery", rows=0, **more))  # type: ignore[arg-type]


def refused(family: Family, name: str, make: Make, code: str, **more: object) -> None:
    """A plugin that admission refuses."""
    CASES.append(Case(family, name, make, code, "admission", **more))  # type: ignore[arg-type]


def fails(name: str, source: str, code: str, stage: str, **more: object) -> None:
    """A plugin that is admitted and cannot be made."""
    make = lambda site: site.module(source)  # noqa: E731
    CASES.append(Case("type", name, make, code, stage, probe="never", **more))  # type: ignore[arg-type]


def serves(family: Family, name: str, make: Make, code: str = "", stage: str = "", **more: object) -> None:
    """A plugin that serves, with a warning or without."""
    probe = "never" if family == "type" else "new"  # what the host itself contains
    CASES.append(Case(family, name, make, code, stage, serves=True, probe=probe, **more))  # type: ignore[arg-type]


def _gone(path: Path) -> None:
    path.unlink(missing_ok=True)


def _folder(path: Path) -> None:
    _gone(path)
    path.mkdir()


def _fifo(path: Path) -> None:
    _gone(path)
    os.mkfifo(path)


def _loop(path: Path) -> None:
    _gone(path)
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    _gone(path)
    path.symlink_to(path.parent / "not there")


def _endless(path: Path) -> None:
    _gone(path)
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    import socket

    _gone(path)
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _unreadable(path: Path) -> None:
    path.touch()
    path.chmod(0)


def _huge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(64 << 20)


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _second_line(data: bytes) -> bytes:
    first, _, rest = data.partition(b"\n")
    return first + b"\n" + b"# \xff\xfe\n" + rest


def _utf16(data: bytes) -> bytes:
    return data.decode().encode("utf-16")


# ---------------------------------------------------------------------------------------------- metadata: every file
# For each damage, what becomes of the distribution by the file that has it; "" serves, "absent" is nothing to see.

METADATA, ENTRIES, RECORD, URL, MANIFEST = FILES = (
    "METADATA",
    "entry_points.txt",
    "RECORD",
    "direct_url.json",
    "extra_metadata/pluginapi.json",
)
_UNREADABLE = dict.fromkeys(FILES, "metadata-unreadable")
DAMAGES: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "a folder": (_folder, _UNREADABLE),
    "a FIFO": (_fifo, _UNREADABLE),
    "a socket": (_socket, _UNREADABLE),
    "a link to itself": (_loop, _UNREADABLE),
    "a link to nothing": (_dangling, _UNREADABLE),
    "a link to /dev/zero": (_endless, _UNREADABLE),
    "unreadable": (_unreadable, _UNREADABLE),
    "64 MB": (_huge, _UNREADABLE),
    "missing": (_gone, {METADATA: "metadata-unreadable", ENTRIES: "absent", RECORD: "", URL: "", MANIFEST: ""}),
    "empty": (
        _changed(lambda data: b""),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "absent",
            RECORD: "module-foreign",
            URL: "",
            MANIFEST: "manifest-malformed",
        },
    ),
    "not UTF-8": (
        _changed(_second_line),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "metadata-malformed",
            RECORD: "metadata-malformed",
            URL: "",
            MANIFEST: "manifest-malformed",
        },
    ),
    "UTF-16": (
        _changed(_utf16),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "metadata-malformed",
            RECORD: "metadata-malformed",
            URL: "",
            MANIFEST: "",  # JSON may be
        },
    ),
    "UTF-16 without a mark": (
        _changed(lambda data: data.decode().encode("utf-16-le")),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "metadata-malformed",
            RECORD: "module-foreign",
            URL: "",
            MANIFEST: "",
        },
    ),
    "with a byte order mark": (
        _changed(lambda data: b"\xef\xbb\xbf" + data),
        {METADATA: "", ENTRIES: "metadata-malformed", RECORD: "", URL: "", MANIFEST: ""},
    ),
    "with CRLF": (_changed(lambda data: data.replace(b"\n", b"\r\n")), dict.fromkeys(FILES, "")),
    "with CR alone": (_changed(lambda data: data.replace(b"\n", b"\r")), dict.fromkeys(FILES, "")),
    "of NUL bytes": (
        _changed(lambda data: b"\0" * 4096),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "metadata-malformed",
            RECORD: "module-foreign",
            URL: "",
            MANIFEST: "manifest-malformed",
        },
    ),
    "binary": (
        _changed(lambda data: bytes(range(256)) * 4),
        {
            METADATA: "metadata-malformed",
            ENTRIES: "metadata-malformed",
            RECORD: "metadata-malformed",
            URL: "",
            MANIFEST: "manifest-malformed",
        },
    ),
}
_SPECIAL = {"a FIFO", "a socket", "a link to itself", "a link to nothing", "a link to /dev/zero"}


def _damage(file: str, damage: Callable[[Path], object]) -> Make:
    def make(site: SiteFolder) -> None:
        site.info.joinpath(URL).write_text('{"url": "file:///zoo", "archive_info": {}}\n')
        damage(site.info / file)

    return make


def _damaged_files() -> None:
    for title, (damage, codes) in DAMAGES.items():
        needs = "posix" if title in _SPECIAL else "user" if title == "unreadable" else ""
        for file, code in codes.items():
            name, make = f"{file} {title}", _damage(file, damage)
            if code.startswith("metadata-"):
                unread("metadata", name, make, code, needs=needs)
            elif code == "absent":
                CASES.append(Case("metadata", name, make, rows=0))
            elif code:
                refused("metadata", name, make, code, needs=needs)
            else:
                serves("metadata", name, make, needs=needs)


_damaged_files()


# ------------------------------------------------------------------------------------------- metadata: the dist-info
def _info_is(damage: Callable[[Path], object]) -> Make:
    def make(site: SiteFolder) -> None:
        import shutil

        shutil.rmtree(site.info)
        damage(site.info)

    return make


unread("metadata", "dist-info a link to itself", _info_is(_loop), "metadata-unreadable", needs="posix")
unread("metadata", "dist-info a link to nothing", _info_is(_dangling), "metadata-unreadable", needs="posix")
unread("metadata", "dist-info a FIFO", _info_is(_fifo), "metadata-unreadable", needs="posix")
unread("metadata", "dist-info a file", _info_is(lambda path: path.touch()), "metadata-unreadable")
unread("metadata", "dist-info empty", _info_is(lambda path: path.mkdir()), "metadata-unreadable")
unread(
    "metadata",
    "dist-info without METADATA and entry points",
    lambda site: (_gone(site.info / METADATA), _gone(site.info / ENTRIES)),
    "metadata-unreadable",
)
unread("metadata", "dist-info unreadable", lambda site: site.info.chmod(0), "metadata-unreadable", needs="user")
for _leading in "~-.=%":
    unread(
        "metadata",
        f"what pip leaves of an uninstall, with {_leading!r}",
        lambda site, first=_leading: site.info.rename(site.root / f"{first}oo_bad-1.2.3.dist-info"),
        "distribution-leftover",
        known=("oo_bad", "1.2.3"),
    )
unread(
    "metadata",
    "what pip leaves of an uninstall, empty",
    lambda site: (site.info.rename(site.root / "gone"), site.root.joinpath("~oo_bad-1.2.3.dist-info").mkdir()),
    "distribution-leftover",
    known=("oo_bad", "1.2.3"),
)
refused(
    "metadata",
    "dist-info of another's name",
    lambda site: site.info.rename(site.root / "zoo_other-1.2.3.dist-info"),
    "name-invalid",
)
refused(
    "metadata",
    "dist-info without a name",
    lambda site: site.info.rename(site.root / ".dist-info"),
    "name-invalid",
)
refused(
    "metadata",
    "METADATA with another distribution's Name",
    lambda site: site.replace(METADATA, _NAME, "Name: zoo-a-good\n"),
    "name-invalid",
    known=("zoo-a-good", "1.2.3"),
)
refused(
    "metadata",
    "what pip leaves of an uninstall, with '0'",
    lambda site: site.info.rename(site.root / "0oo_bad-1.2.3.dist-info"),
    "name-invalid",
)
serves(
    "metadata",
    "dist-info in capitals",
    lambda site: site.info.rename(site.root / "ZOO_Bad-1.2.3.DIST-INFO"),
)
serves(
    "metadata",
    "two versions in one folder",
    lambda site: site.distribution("zoo-bad", "1.3.0"),
    "distribution-shadowed",
    "admission",
    known=("zoo-bad", "1.2.3", "1.3.0"),
)


# -------------------------------------------------------------------------------------------------- metadata: header
def _replaced(old: str, new: str, file: str = METADATA) -> Make:
    return lambda site: site.replace(file, old, new)


_NAME, _VERSION = "Name: zoo-bad\n", "Version: 1.2.3\n"
for _title, _old, _new in [
    ("no Name", _NAME, ""),
    ("an empty Name", _NAME, "Name:\n"),
    ("a Name of blanks", _NAME, "Name:   \n"),
    ("two Names", _NAME, f"{_NAME}Name: zoo-other\n"),
    ("one Name twice", _NAME, _NAME * 2),
    ("two Names in other letters", _NAME, f"{_NAME}NAME: zoo-other\n"),
    ("a Name after the header", _NAME, f"\n{_NAME}"),
    ("no Version", _VERSION, ""),
    ("an empty Version", _VERSION, "Version:\n"),
    ("two Versions", _VERSION, f"{_VERSION}Version: 2.0\n"),
    ("headers without colons", _NAME, "Name zoo-bad\n"),
]:
    unread("metadata", f"METADATA with {_title}", _replaced(_old, _new), "metadata-malformed")
for _title, _version in [
    ("banana", "banana"),
    ("of 20,000 digits", "1" * 20_000),
    ("of 4,000 digits", "1" * 4_000),
    ("of 20,000 parts", ".".join("1" * 20_000)),
    ("negative", "-1"),
    ("with a path", "1.0/../../etc"),
    ("with blanks", "1.0 beta"),
    ("with a control character", "1.0\x1b[2J"),
    ("of two dots", "1..0"),
    ("with a star", "1.*"),
    ("of 500,000 digits", "1" * 500_000),
    ("in Arabic digits", "\u0661.\u0662"),
]:
    refused(
        "metadata",
        f"Version {_title}",
        _replaced(_VERSION, f"Version: {_version}\n"),
        "version-invalid",
        known=("zoo-bad", _version[:1] if _version[0].isascii() else "\u0661"),
    )
serves("metadata", "a header folded over lines", _replaced(_NAME, "Name:\n  zoo-bad\n"))
serves("metadata", "a header key in other letters", _replaced(_NAME, "nAmE: zoo-bad\n"))
serves("metadata", "900 KB of description", lambda site: site.header("", "text " * 180_000))
serves("metadata", "a header of 900 KB", lambda site: site.header(f"Summary: {'x' * 900_000}"))
serves("metadata", "100,000 headers", lambda site: site.header(*["Keyword: x"] * 80_000))
serves("metadata", "a description that looks like headers", lambda site: site.header("", "Name: other", "Version: 9"))
unread(
    "metadata",
    "20,000 requirements",
    lambda site: site.header(*(f"Requires-Dist: nothere-{n}" for n in range(20_000))),
    "metadata-malformed",
)
refused(
    "metadata",
    "egg-info of an old tool",
    lambda site: (
        site.info.rename(site.root / "zoo_bad.egg-info"),
        site.root.joinpath("zoo_bad.egg-info/METADATA").rename(site.root / "zoo_bad.egg-info/PKG-INFO"),
        site.root.joinpath("zoo_bad.egg-info/PKG-INFO").write_text(
            "Metadata-Version: 1.1\nName: zoo-bad\nVersion: 1.2.3\n"
        ),
    ),
    "pin-missing",
)
unread(
    "metadata",
    "egg-info with an empty PKG-INFO",
    lambda site: (
        site.info.rename(site.root / "zoo_bad-1.2.3.egg-info"),
        site.root.joinpath("zoo_bad-1.2.3.egg-info/METADATA").unlink(),
        site.root.joinpath("zoo_bad-1.2.3.egg-info/PKG-INFO").touch(),
    ),
    "metadata-malformed",
)
serves("metadata", "direct_url.json that is no object", lambda site: site.info.joinpath(URL).write_text('["editable"]'))
serves(
    "metadata",
    "direct_url.json nested 100,000 deep",
    lambda site: site.info.joinpath(URL).write_text("[" * 100_000 + '"editable"'),
)
serves(
    "metadata",
    "direct_url.json with a URL that is none",
    lambda site: site.info.joinpath(URL).write_text('{"url": "file://[", "dir_info": {"editable": true}}'),
)
serves(
    "metadata",
    "direct_url.json with a URL that is a number",
    lambda site: site.info.joinpath(URL).write_text('{"url": 1, "dir_info": {"editable": true}}'),
)
serves("metadata", "RECORD with lines that are none", lambda site: site.record('"\'\\,,,,\n"\n,\n,,\n\x0b,\x1c', ""))
serves("metadata", "RECORD with paths outside", lambda site: site.record("../../../../etc/passwd"))
serves("metadata", "RECORD with absolute paths", lambda site: site.record("/etc/passwd"))
serves("metadata", "RECORD with a file that is absent", lambda site: site.record("zoo_bad_other.py"))


# -------------------------------------------------------------------------------------- metadata: entry_points.txt
def _entries(*lines: str, **options: str) -> Make:
    return lambda site: site.entry_points(*lines, **options)


def _entry_text(text: str) -> Make:
    return lambda site: site.info.joinpath(ENTRIES).write_text(text)


unread(
    "metadata", "entry_points.txt that is prose", _entry_text("this is no list of entry points\n"), "metadata-malformed"
)
unread("metadata", "entry_points.txt without a section", _entry_text("bad = zoo_bad:New\n"), "metadata-malformed")
unread(
    "metadata",
    "entry_points.txt with an open section",
    _entry_text("[pluginhost.plugins\nbad = zoo_bad:New\n"),
    "metadata-malformed",
)
unread(
    "metadata",
    "entry_points.txt with a line without '='",
    _entries("bad = zoo_bad:New", "what is this"),
    "metadata-malformed",
)
unread(
    "metadata",
    "entry_points.txt with such a line in another section",
    _entries("bad = zoo_bad:New", "[console_scripts]", "what is this"),
    "metadata-malformed",
)
unread("metadata", "entry_points.txt with a colon for '='", _entries("bad: zoo_bad"), "metadata-malformed")
unread("metadata", "an entry point of 2 MB", _entries(f"{'n' * (2 << 20)} = zoo_bad:New"), "metadata-unreadable")
unread(
    "metadata", "30,000 entry points", _entries(*(f"bad{n} = zoo_bad:New" for n in range(30_000))), "metadata-malformed"
)
unread("metadata", "30,000 entry points of one name", _entries(*["bad = zoo_bad:New"] * 30_000), "metadata-malformed")
serves("metadata", "entry_points.txt with the section twice", _entries("[pluginhost.plugins]", "bad = zoo_bad:New"))
serves("metadata", "entry_points.txt with comments", _entries("# bad = other:New", "", "bad = zoo_bad:New", "#"))
for _title, _value in [
    ("empty", ""),
    ("a number", "1"),
    ("prose", "my plugin"),
    ("of three parts", "zoo_bad:New:More"),
    ("a factory without a module", ":New"),
    ("a module and a colon", "zoo_bad:"),
    ("a path", "../zoo_bad:New"),
    ("a path to a file", "zoo_bad.py:New()"),
    ("relative", ".zoo_bad:New"),
    ("of two dots", "zoo_bad..sub:New"),
    ("with a dot at the end", "zoo_bad.:New"),
    ("a factory with a dot at the end", "zoo_bad:New."),
    ("code", "zoo_bad:__import__('os').getcwd()"),
    ("a comment behind", "zoo_bad:New # the factory"),
    ("a control character", "zoo_bad:New\x1b[2J"),
    ("a NUL byte", "zoo_bad\0:New"),
    ("an open extra", "zoo_bad:New [x"),
    ("something behind the extras", "zoo_bad:New [x] y"),
    ("extras that are none", "zoo_bad:New [!, /]"),
    ("of 900 KB", "zoo_bad:" + "N" * 900_000),
    ("of 100,000 dots", "zoo_bad" + ".a" * 100_000),
]:
    refused("metadata", f"an entry point's value: {_title}", _entries(f"bad = {_value}"), "entry-point-malformed")
serves("metadata", "an entry point's value: a module alone", _entries("bad = zoo_bad"))
serves("metadata", "an entry point's value: empty extras", _entries("bad = zoo_bad:New []"))


def _spoiled(change: Callable[[dict[str, object]], object]) -> Make:
    def make(site: SiteFolder) -> None:
        content = json.loads(site.manifest.read_text())
        site.manifest.write_text(json.dumps(change(content) or content))

    return make


def _manifest_text(text: str) -> Make:
    return lambda site: site.manifest.write_text(text)


for _title, _make in {
    "null": _manifest_text("null"),
    "a list": _manifest_text("[]"),
    "a number": _manifest_text("1"),
    "cut off": lambda site: site.manifest.write_text(site.manifest.read_text()[:-9]),
    "nested 100,000 deep": _manifest_text("[" * 100_000),
    "a number of 100,000 digits": _manifest_text("1" * 100_000),
    "of a later schema": _spoiled(lambda content: content.update(schema=2)),
    "with a schema of 900 KB": _spoiled(lambda content: content.update(schema="\x1b" * 150_000)),
    "without a schema": _spoiled(lambda content: content.pop("schema") and None),
    "without plugins": _spoiled(lambda content: content.pop("plugins") and None),
    "with plugins that are none": _spoiled(lambda content: content.update(plugins="plugins")),
    "with a plugin that is null": _spoiled(lambda content: content.update(plugins=[None])),
    "with an API that is a text": _spoiled(lambda content: content.update(api="pluginapi")),
    "with an API that is a list": _spoiled(lambda content: content.update(api=["pluginapi"])),
    "with contracts that are a number": _spoiled(lambda content: content["plugins"][0].update(contracts=7)),  # type: ignore[index]
    "with contracts that are a text": _spoiled(lambda content: content["plugins"][0].update(contracts="Greeter")),  # type: ignore[index]
    "with a capability that is null": _spoiled(lambda content: content["plugins"][0].update(capabilities=[None])),  # type: ignore[index]
    "with requires that are null": _spoiled(lambda content: content["plugins"][0].update(requires=None)),  # type: ignore[index]
    "with requires that are a text": _spoiled(lambda content: content["plugins"][0].update(requires="english")),  # type: ignore[index]
    "with requires that are a list": _spoiled(lambda content: content["plugins"][0].update(requires=["english"])),  # type: ignore[index]
    "with required plugins that are a text": _spoiled(
        lambda content: content["plugins"][0].update(requires={"plugins": "english"})  # type: ignore[index]
    ),
    "with required contracts that are null": _spoiled(
        lambda content: content["plugins"][0].update(requires={"contracts": None})  # type: ignore[index]
    ),
    "with a required capability that is a number": _spoiled(
        lambda content: content["plugins"][0].update(requires={"capabilities": ["batch", 7]})  # type: ignore[index]
    ),
    "with an object required of the host": _spoiled(
        lambda content: content["plugins"][0].update(requires={"host": {"streaming": True}})  # type: ignore[index]
    ),
    "with a fingerprint that is a number": _spoiled(lambda content: content["api"].update(fingerprint=1)),  # type: ignore[attr-defined]
}.items():
    refused("metadata", f"a manifest: {_title}", _make, "manifest-malformed")
refused(
    "metadata",
    "a manifest of another entry point",
    _spoiled(lambda content: content["plugins"][0].update(entry_point="zoo_other:New")),
    "manifest-mismatch",
)  # type: ignore[index]
serves("metadata", "a manifest with keys of a later version", _spoiled(lambda content: content.update(later=1)))
serves(
    "metadata",
    "a manifest without requires",
    _spoiled(lambda content: content["plugins"][0].pop("requires") and None),  # type: ignore[index]
)
serves(
    "metadata",
    "a manifest with requires of a later version",
    _spoiled(lambda content: content["plugins"][0].update(requires={"later": 1})),  # type: ignore[index]
)
serves(
    "metadata",
    "a manifest with a contract unknown here",
    _spoiled(lambda content: content["plugins"][0].update(contracts=["Greeter", "Later", "\ud800"])),
)  # type: ignore[index]
CASES.append(
    Case(
        "metadata",
        "a manifest with a contract it does not keep",
        _spoiled(lambda content: content["plugins"][0].update(contracts=["Handler"])),
        "wrong-type",
        "type",
    )
)  # type: ignore[index]


# ----------------------------------------------------------------------------------------- metadata: the search path
def _on_path(damage: Callable[[Path], object], name: str = "elsewhere") -> Make:
    def make(site: SiteFolder) -> None:
        place = site.root.parent / name
        damage(place)
        site.path.append(str(place))

    return make


def _runs(code: str) -> Make:
    def make(site: SiteFolder) -> None:
        site.code = code

    return make


for _title, _damage_it in [
    ("a link to itself", _loop),
    ("a FIFO", _fifo),
    ("a socket", _socket),
    ("a link to /dev/zero", _endless),
]:
    serves(
        "metadata",
        f"on the path {_title}",
        _on_path(_damage_it),
        "path-unreadable",
        "discovery",
        known=("elsewhere",),
        needs="posix",
    )


def _broken_zip(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("some.py", "")
            archive.writestr("other-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n\n")
        path.write_bytes(change(path.read_bytes()))

    return damage


def _latest_zip(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 6] + b"\xff\xff" + data[at + 8 :]


def _no_utf8_zip(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    data = data[: at + 8] + b"\x00\x08" + data[at + 10 :]
    return data[:at] + data[at:].replace(b"some.py", b"\xff\xfeme.py")


for _title, _change in {
    "cut off": lambda data: data[:-30],
    "of a later zip": _latest_zip,
    "that is no zip": lambda data: b"no zip at all",
    "empty": lambda data: b"",
}.items():
    serves(
        "metadata",
        f"on the path an archive {_title}",
        _on_path(_broken_zip(_change), "elsewhere.zip"),
        "path-unreadable",
        "discovery",
        known=("elsewhere.zip",),
    )
serves("metadata", "on the path a folder that is not there", _on_path(lambda path: None))
serves("metadata", "on the path a file's child", lambda site: site.path.append(str(site.root / "zoo_bad.py" / "x")))
serves(
    "metadata",
    "on the path an unreadable folder",
    _on_path(lambda path: (path.mkdir(), path.chmod(0))),
    "path-unreadable",
    "discovery",
    known=("elsewhere",),
    needs="user",
)
serves("metadata", "on the path a Path", _runs("sys.path.append(Path('/somewhere'))"))
serves("metadata", "on the path bytes", _runs("sys.path.append(b'/somewhere')"))
serves("metadata", "on the path None", _runs("sys.path.append(None)"))
serves("metadata", "on the path a number", _runs("sys.path.append(7)"))
serves("metadata", "on the path a lone surrogate", _runs("sys.path.append('/some\\udcffwhere')"))
serves(
    "metadata",
    "on the path 100,000 characters",
    _runs("sys.path.append('/x' * 50_000)"),
    "path-unreadable",
    "discovery",
    known=("/x",),
)
serves(
    "metadata",
    "a finder that raises",
    _runs(
        "class F:\n  def find_spec(self, *_): return None\n  def find_distributions(self, *_): raise SystemExit(3)\nsys.meta_path.append(F())"
    ),
    "path-unreadable",
    "discovery",
    known=("finder",),
)
serves(
    "metadata",
    "a finder that cannot be printed",
    _runs(
        "class F:\n  def __repr__(self): raise ValueError\n  def find_spec(self, *_): return None\n  def find_distributions(self, *_): raise ValueError\nsys.meta_path.append(F())"
    ),
    "path-unreadable",
    "discovery",
    known=("finder",),
)
serves(
    "metadata",
    "a finder of nameless distributions",
    _runs(
        "class D:\n  name = None\n  def read_text(self, _): return None\nclass F:\n  def find_spec(self, *_): return None\n  def find_distributions(self, *_): return [D()]\nsys.meta_path.append(F())"
    ),
    "metadata-unreadable",
    "discovery",
    known=("finder",),
)
serves(
    "metadata",
    "a working folder that is gone",
    _runs("os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"),
    needs="posix",
)


def _twice(site: SiteFolder) -> None:
    import shutil

    other = site.root.parent / "elsewhere"
    other.mkdir()
    shutil.copytree(site.info, other / "zoo_bad-0.9.dist-info")
    metadata = other / "zoo_bad-0.9.dist-info" / METADATA
    metadata.write_text(metadata.read_text().replace("1.2.3", "0.9"))
    site.path.append(str(other))


serves(
    "metadata",
    "two versions on two entries of the path",
    _twice,
    "distribution-shadowed",
    "admission",
    known=("zoo-bad", "1.2.3", "0.9"),
)


# --------------------------------------------------------------------------------------------------------------- names
for _title, _name in [
    ("a path", "../../etc/cron.d/x"),
    ("an absolute path", "/etc/passwd"),
    ("a path with backslashes", "..\\..\\windows"),
    ("a drive", "C:bad"),
    ("a slash", "material/blog"),
    ("dots", ".."),
    ("a dot", "."),
    ("a dot in front", ".bad"),
    ("two dots inside", "bad..ly"),
    ("an option", "--help"),
    ("empty", ""),
    ("a blank", "bad plugin"),
    ("900 KB", "n" * 900_000),
    ("129 characters", "n" * 129),
    ("an escape", "bad\x1b[2J"),
    ("a NUL byte", "ba\0d"),
    ("a bell", "bad\x07"),
    ("a right-to-left override", "bad\u202edab"),
    ("a zero-width blank", "ba\u200bd"),
    ("a soft hyphen", "ba\u00add"),
    ("a no-break blank", "ba\u00a0d"),
    ("a Cyrillic letter", "z-g\u043eod"),
    ("a fullwidth letter", "\uff42ad"),
    ("a ligature", "o\ufb03ce"),
    ("a combining accent", "bad\u0301"),
    ("an emoji", "bad\U0001f600"),
    ("a distribution", "bad@zoo-bad"),
    ("a colon", "a:b"),
    ("a format", "{0.__class__}%s"),
    ("a tag in it", "<b>bad</b>"),
    ("a Turkish dotless i", "b\u0131d"),
    ("a Kelvin sign", "\u212a"),
]:
    refused("names", f"an entry point called {_title}", _entries(f"{_name} = zoo_bad:New"), "name-invalid")
for _title, _name in [
    ("a path", "../zoo-bad"),
    ("900 KB", "n" * 900_000),
    ("a Cyrillic letter", "zoo-b\u0430d"),
    ("an escape", "zoo-bad\x1b[31m"),
    ("a NUL byte", "zoo-\0bad"),
    ("a blank", "zoo bad"),
    ("a dash at the end", "zoo-bad-"),
]:
    refused("names", f"a distribution called {_title}", _replaced(_NAME, f"Name: {_name}\n"), "name-invalid", known=())


def _renamed(folder: str, name: str) -> Make:
    def make(site: SiteFolder) -> None:
        site.replace(METADATA, _NAME, f"Name: {name}\n")
        site.info.rename(site.root / f"{folder}-1.2.3.dist-info")

    return make


for _title, _folder_name, _name in [
    ("a Cyrillic letter", "zoo_b\u0430d", "zoo-b\u0430d"),
    ("a blank", "zoo bad", "zoo bad"),
    ("an escape", "zoo_bad\x1b[31m", "zoo-bad\x1b[31m"),
    ("a newline", "zoo_\nbad", "zoo-\n bad"),
]:
    refused(
        "names",
        f"a distribution and its folder called {_title}",
        _renamed(_folder_name, _name),
        "name-invalid",
        known=("zoo", "1.2.3"),
        needs="posix",
    )


def _double(other: str, mine: str = "bad") -> Make:
    def make(site: SiteFolder) -> None:
        site.entry_points(f"{mine} = zoo_bad:New")
        info = site.distribution("zoo-double", "4.5.6", "pluginapi~=1.0", files={"zoo_double.py": BAD})
        info.joinpath(ENTRIES).write_text(f"[pluginhost.plugins]\n{other} = zoo_double:New\n")

    return make


_BOTH = ("zoo-bad", "1.2.3", "zoo-double", "4.5.6")
refused("names", "two distributions with one name", _double("bad"), "name-clash", rows=2, told=2, known=_BOTH)
for _title, _mine, _other in [
    ("case", "bad", "Bad"),
    ("a dash and an underscore", "ba-d", "ba_d"),
    ("a dash and a dot", "ba-d", "ba.d"),
    ("one dash and two", "ba-d", "ba--d"),
]:
    refused(
        "names",
        f"two names that differ in {_title}",
        _double(_other, _mine),
        "name-confusable",
        rows=2,
        told=2,
        known=_BOTH,
    )
serves("names", "two names that are others", _double("worse"), rows=2)
refused(
    "names",
    "one name twice in a distribution",
    _entries("bad = zoo_bad:New", "bad = zoo_bad:Other"),
    "name-clash",
    rows=2,
    told=2,
)
refused(
    "names", "one entry point twice", _entries("bad = zoo_bad:New", "bad = zoo_bad:New"), "name-clash", rows=2, told=2
)
refused(
    "names",
    "two names of a distribution that differ in case",
    _entries("bad = zoo_bad:New", "Bad = zoo_bad:New"),
    "name-confusable",
    rows=2,
    told=2,
)
for _title, _value in [
    ("another plugin's module", "zoo_a_good:New"),
    ("another distribution's module", "click:New"),
    ("another distribution's submodule", "packaging.version:Version"),
]:
    refused("names", f"the module is {_title}", _entries(f"bad = {_value}"), "module-foreign")
for _title, _value in [
    ("of the standard library", "json:loads"),
    ("a built-in one", "builtins:object"),
    ("a frozen one", "_frozen_importlib:New"),
    ("a part of the standard library", "os.path:join"),
    ("antigravity", "antigravity:New"),
    ("__main__", "__main__:New"),
    ("the host", "pluginhost:PluginManager"),
    ("the host's command", "pluginhost.cli:main"),
    ("the API", "pluginapi:Greeter"),
    ("the API's contracts", "pluginapi.contracts:Greeter"),
]:
    refused("names", f"the module is {_title}", _entries(f"bad = {_value}"), "module-shadows")


def _shadowing(module: str) -> Make:
    def make(site: SiteFolder) -> None:
        site.write(f"{module.replace('.', '/')}.py", BAD)
        site.entry_points(f"bad = {module}:New")

    return make


for _module in ("json", "random", "typing", "pluginhost.zoo", "pluginapi.zoo", "site"):
    refused("names", f"a module of its own called {_module}", _shadowing(_module), "module-shadows")
refused(
    "names",
    "RECORD with another plugin's module",
    lambda site: (site.record("zoo_a_good.py", "sha256=AAAA,1"), site.entry_points("bad = zoo_a_good:New")),
    "module-foreign",
)
refused(
    "names",
    "RECORD with another plugin's module beside its own",
    lambda site: site.record("zoo_a_good.py", "sha256=AAAA,1"),
    "module-foreign",
)
refused(
    "names",
    "RECORD without its module",
    lambda site: site.info.joinpath(RECORD).write_text("zoo_bad-1.2.3.dist-info/METADATA,,\n"),
    "module-foreign",
)
serves(
    "names",
    "a package",
    lambda site: (site.write("zoo_bad_package/__init__.py", BAD), site.entry_points("bad = zoo_bad_package:New")),
)


# ---------------------------------------------------------------------------------------------------------------- pins
def _pinned(*lines: str) -> Make:
    return lambda site: site.pin(*lines)


for _title, _lines in {
    "no pin": (),
    "no version": ("pluginapi",),
    "another distribution alone": ("packaging>=1",),
    "a marker that does not hold": ("pluginapi~=1.0; python_version < '3'",),
    "an extra alone": ("pluginapi~=1.0; extra == 'x'",),
    "a URL": ("pluginapi @ https://example.org/pluginapi-1.0.0.whl",),
    "a marker of another platform": ("pluginapi~=1.0; sys_platform == 'amiga'",),
}.items():
    refused("pins", f"a pin: {_title}", _pinned(*_lines), "pin-missing")
for _title, _lines in {
    "a later API": ("pluginapi>=2",),
    "an earlier API": ("pluginapi<1",),
    "another exactly": ("pluginapi==0.9",),
    "not this": ("pluginapi!=1.0.0",),
    "two that exclude each other": ("pluginapi>=1", "pluginapi<1"),
    "one that excludes itself": ("pluginapi>=2,<1",),
    "one of two": ("pluginapi~=1.0", "pluginapi>=9"),
    "an arbitrary version": ("pluginapi===banana",),
    "a later API under a marker that holds": ("pluginapi~=1.0", "pluginapi>=2; python_version >= '3'"),
    "a pre-release of a later API": ("pluginapi>=2.0.dev0",),
    "a later epoch": ("pluginapi>=1!0",),
    "a later API in other letters": ("PluginAPI>=2",),
}.items():
    refused("pins", f"a pin: {_title}", _pinned(*_lines), "pin-unsatisfied")
for _title, _line in {
    "banana": "pluginapi banana",
    "empty": "",
    "an operator alone": "pluginapi>=",
    "an unknown operator": "pluginapi=>1",
    "a version that is none": "pluginapi>=banana",
    "20,000 characters": "pluginapi" + ">=1," * 5_000 + ">=1",
    "900 KB": "pluginapi>=" + "1" * 900_000,
    "20,000 digits": "pluginapi>=" + "1" * 20_000,
    "an open bracket": "pluginapi[",
    "an open marker": "pluginapi~=1.0; python_version >",
    "a marker of an unknown variable": "pluginapi~=1.0; moon == 'full'",
    "a marker that cannot be compared": "pluginapi~=1.0; 'a' ~= 'b'",
    "a marker that compares a version with banana": "pluginapi~=1.0; python_version ~= 'banana'",
    "a marker of 400 brackets": "pluginapi~=1.0; " + "(" * 400 + "os_name ==" + ")" * 400,
    "a marker of lock files": "pluginapi~=1.0; 'x' in extras",
    "a marker of dependency groups": "pluginapi~=1.0; 'x' in dependency_groups",
    "an escape": "pluginapi~=1.0 \x1b[2J",
    "a NUL byte": "pluginapi\0~=1.0",
    "a right-to-left override": "plugin\u202eapi~=1.0",
    "a path": "../pluginapi",
    "a name of another alphabet": "plugin\u0430pi~=1.0",
}.items():
    refused("pins", f"a requirement that cannot be read: {_title}", _pinned("pluginapi~=1.0", _line), "pin-malformed")
for _title, _line in {
    "exact": "pluginapi==1.0.0",
    "with a star": "pluginapi==1.*",
    "arbitrary": "pluginapi===1.0.0",
    "in other letters": "PluginAPI (>=1.0)",
    "with extras": "pluginapi[x,y]~=1.0",
    "under a marker that holds": "pluginapi~=1.0; python_version >= '3'",
    "under a marker of bananas": "pluginapi~=1.0; os_name != 'banana'",
}.items():
    serves("pins", f"a pin: {_title}", _pinned(_line))
for _title, _wanted in {
    "a later one": ">=99",
    "an earlier one": "<3",
    "two that exclude each other": ">=3.11,<3.11",
    "banana": "banana",
    "20,000 digits": ">=" + "9" * 20_000,
    "20,000 digits that hold": "<" + "9" * 20_000,
    "900 KB": ">=3," * 225_000 + ">=3",
    "an operator alone": ">=",
    "an escape": ">=3\x1b[2J",
    "a NUL byte": ">=3\0",
    "a bare version": "3.12",
}.items():
    refused(
        "pins",
        f"Requires-Python: {_title}",
        lambda site, wanted=_wanted: site.replace(
            METADATA, "Metadata-Version: 2.4\n", f"Metadata-Version: 2.4\nRequires-Python: {wanted}\n"
        ),
        "python-unsatisfied",
    )
serves("pins", "Requires-Python: empty", lambda site: site.header("Requires-Python:"))


def _needs(line: str, found: str = "", *, extra: str = "", folder: str = "") -> Make:
    """The bad plugin needs another distribution, and finds some version of it or none."""

    def make(site: SiteFolder) -> None:
        site.header(f"Requires-Dist: {line}", *([f"Provides-Extra: {extra}"] if extra else []))
        if found:
            info = site.distribution("zoo-other", "1.0", files={"zoo_other.py": ""})
            info.joinpath(METADATA).write_text(f"Metadata-Version: 2.1\nName: zoo-other\nVersion: {found}\n\n")
            info.rename(site.root / (folder or f"zoo_other-{found}.dist-info"))
        if extra:
            site.entry_points(f"bad = zoo_bad:New [{extra}]")

    return make


for _title, _make in {
    "not there": _needs("zoo-nothere>=1"),
    "not there, without a version": _needs("zoo-nothere"),
    "not there, from a URL": _needs("zoo-nothere @ https://example.org/x.whl"),
    "not there, under a marker that holds": _needs("zoo-nothere; python_version >= '3'"),
    "not there, of the entry point's extra": _needs("zoo-nothere; extra == 'x'", extra="x"),
    "not there, of an extra written otherwise": _needs("zoo-nothere; extra == 'x-y'", extra="X_Y"),
}.items():
    refused("pins", f"a dependency: {_title}", _make, "dependency-missing", known=("zoo-bad", "1.2.3", "zoo-nothere"))
for _title, _make in {
    "another version": _needs("zoo-other>=2", "1.0"),
    "two pins that exclude each other": _needs("zoo-other>1,<1", "1.0"),
    "a version that is none": _needs("zoo-other>=1", "banana"),
    "a version of 20,000 digits": _needs("zoo-other<1", "1" * 20_000, folder="zoo_other.dist-info"),
    "of the entry point's extra, another version": _needs("zoo-other>=2; extra == 'x'", "1.0", extra="x"),
}.items():
    refused("pins", f"a dependency: {_title}", _make, "dependency-unsatisfied", known=("zoo-bad", "1.2.3", "zoo-other"))
for _title, _make in {
    "there": _needs("zoo-other>=1", "1.0"),
    "there, from a URL": _needs("zoo-other @ file:///x", "1.0"),
    "of an extra not asked for": _needs("zoo-nothere; extra == 'x'"),
    "under a marker that does not hold": _needs("zoo-nothere; python_version < '3'"),
    "itself": _needs("zoo-bad>=1"),
    "of the entry point's extra, there": _needs("zoo-other; extra == 'x'", "1.0", extra="x"),
}.items():
    serves("pins", f"a dependency: {_title}", _make)
refused(
    "pins",
    "a dependency in the way of another's",
    lambda site: (_needs("zoo-other>=2", "1.0")(site), site.distribution("zoo-third", "7.0", "zoo-other<2")),
    "dependency-unsatisfied",
    known=("zoo-bad", "1.2.3", "zoo-third", "7.0"),
)
refused(
    "pins", "an extra that the distribution does not have", _entries("bad = zoo_bad:New [nope]"), "dependency-missing"
)
refused(
    "pins",
    "a forked API",
    lambda site: site.manifest.write_text(site.manifest.read_text().replace('"sha256:', '"sha256:0')),
    "api-forked",
)
serves(
    "pins",
    "a stamp of an earlier API",
    lambda site: site.manifest.write_text(
        site.manifest.read_text().replace('"1.0.0"', '"1.0.dev1"').replace('"sha256:', '"sha256:0')
    ),
)


# ---------------------------------------------------------------------------------------- type: copies, before import
def _copy(site: SiteFolder, folder: str, *, changed: str = "", record: bool = True) -> None:
    for file in sorted(API.glob("*.py")):
        text = file.read_text().replace("from pluginapi", f"from {folder.replace('/', '.')}") + changed
        if record:
            site.write(f"{folder}/{file.name}", text)
        else:
            site.root.joinpath(folder).mkdir(parents=True, exist_ok=True)
            site.root.joinpath(folder, file.name).write_text(text)


def _vendored(folder: str, **options: object) -> Make:
    def make(site: SiteFolder) -> None:
        _copy(site, folder, **options)  # type: ignore[arg-type]
        site.module(BAD.replace("from pluginapi", f"from {folder.replace('/', '.')}"))

    return make


def _zipped(name: str, folder: str = "") -> Make:
    def make(site: SiteFolder) -> None:
        path = site.root.parent / name
        with zipfile.ZipFile(path, "w") as archive:
            for file in API.glob("*.py"):
                archive.write(file, f"pluginapi/{file.name}")
        site.write(f"{folder}{name}", path.read_bytes())
        path.unlink()

    return make


def _pth(line: str, folder: str = "zoo_vendor") -> Make:
    def make(site: SiteFolder) -> None:
        for file in API.glob("*.py"):
            target = site.root / folder / "pluginapi" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        site.write("zoo_bad.pth", f"{line}\n")

    return make


def _exact(folder: str) -> Make:
    def make(site: SiteFolder) -> None:
        for file in sorted(API.glob("*.py")):
            site.write(f"{folder}/{file.name}", file.read_bytes())

    return make


for _title, _make in {
    "in a folder of its own": _vendored("zoo_vendor/pluginapi"),
    "in a folder, changed": _vendored("zoo_vendor/pluginapi", changed="\n# changed\n"),
    "deep in it": _vendored("zoo_vendor/a/b/c/pluginapi"),
    "in a folder of another name": _exact("zoo_vendor/api"),
    "one file of it": lambda site: site.write("zoo_vendor/api.py", API.joinpath("contracts.py").read_bytes()),
    "at the top": _exact("pluginapi"),
    "in a zip": _zipped("zoo_vendor.zip"),
    "in a wheel in a folder": _zipped("pluginapi-1.0.0-py3-none-any.whl", "zoo_vendor/"),
    "in an egg": _zipped("zoo_vendor.egg"),
    "by a .pth file": _pth("zoo_vendor"),
}.items():
    refused("type", f"a copy of the API: {_title}", _make, "api-vendored")
for _title, _content in {
    "that is none": b"no zip",
    "empty": b"",
}.items():
    serves(
        "type", f"an archive of its own {_title}", lambda site, content=_content: site.write("zoo_data.zip", content)
    )
for _title, _change in {
    "of a later zip": _latest_zip,
    "with names that are not UTF-8": _no_utf8_zip,
    "cut off": lambda data: data[:-30],
}.items():
    serves(
        "type",
        f"an archive of its own {_title}",
        lambda site, change=_change: (_broken_zip(change)(site.root / "zoo_data.zip"), site.record("zoo_data.zip")),
    )
serves(
    "type",
    "an archive that is a FIFO",
    lambda site: (_fifo(site.root / "zoo_data.zip"), site.record("zoo_data.zip")),
    needs="posix",
)
serves(
    "type",
    "a .pth file that is a FIFO",
    lambda site: (site.root.joinpath("sub").mkdir(), _fifo(site.root / "sub" / "zoo.pth"), site.record("sub/zoo.pth")),
    needs="posix",
)
serves("type", "a .pth file that is binary", lambda site: site.write("sub/zoo.pth", bytes(range(256))))
for _title, _file_name in {
    "an interpreter long gone": "zoo_bad_native.cpython-27m-x86_64-linux-gnu.so",
    "Windows": "zoo_bad_native.cp312-win_amd64.pyd",
    "another machine": "sub/zoo_bad_native.cpython-312-riscv64-linux-musl.so",
}.items():
    refused(
        "type",
        f"an extension module for {_title}",
        lambda site, file=_file_name: site.write(file, b"\x7fELF"),
        "native-incompatible",
    )
serves("type", "an extension module for every machine", lambda site: site.write("zoo_bad_native.so", b"\x7fELF"))
serves(
    "type",
    "a shared library with a version in its name",
    lambda site: site.write("zoo_bad.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so", b"\x7fELF"),
)


# ----------------------------------------------------------------------------------------------- type: after import
def _module(source: str) -> Make:
    return lambda site: site.module(source)


def after(name: str, make: Make, code: str, stage: str, **more: object) -> None:
    """A plugin that is admitted and cannot be made, by more than its module's source."""
    CASES.append(Case("type", name, make, code, stage, **more))  # type: ignore[arg-type]


after(
    "a copy of the API that RECORD does not list",
    _vendored("zoo_vendor/pluginapi", record=False),
    "second-api-copy",
    "type",
)
after(
    "a copy of the API, renamed and changed",
    _vendored("zoo_vendor/api", changed="\n# changed\n"),
    "second-api-copy",
    "type",
)
fails(
    "a copy of the API by a link",
    f"import os, sys, importlib\nhere = os.path.dirname(__file__)\nos.symlink({str(API)!r}, os.path.join(here, 'zoo_link'))\nspec = importlib.util.spec_from_file_location('zoo_link.contracts', os.path.join(here, 'zoo_link', 'contracts.py'))\nmodule = importlib.util.module_from_spec(spec)\nsys.modules[spec.name] = module\nspec.loader.exec_module(module)\nGreeter = module.Greeter\nclass Bad(Greeter):\n{BODY}{NEW}",
    "second-api-copy",
    "type",
    needs="posix",
)
_RELOAD = "import importlib, pluginapi.contracts\nimportlib.reload(pluginapi.contracts)\nfrom pluginapi.contracts import Greeter\n"
fails("the API reloaded", f"{_RELOAD}class Bad(Greeter):\n{BODY}{NEW}", "api-replaced", "type")
for _title, _code in {
    "a fake": "sys.modules['pluginapi'] = type(sys)('pluginapi')",
    "None": "sys.modules['pluginapi'] = None",
    "nothing": "del sys.modules['pluginapi']",
    "what cannot be printed": "sys.modules['pluginapi'] = type('M', (), {'__repr__': lambda self: 1 / 0})()",
    "what raises at each access": "sys.modules['pluginapi'] = type('M', (), {'__getattr__': lambda self, name: 1 / 0})()",
}.items():
    fails(f"sys.modules['pluginapi'] is {_title}", f"{CLASS}{NEW}import sys\n{_code}\n", "api-replaced", "type")
fails(
    "sys.modules['pluginapi.contracts'] is a fake",
    f"{CLASS}{NEW}import sys\nsys.modules['pluginapi.contracts'] = type(sys)('x')\n",
    "api-replaced",
    "type",
)
fails(
    "sys.modules['pluginapi'] is a fake after New()",
    f"{CLASS}import sys\ndef New():\n    sys.modules['pluginapi'] = None\n    return Bad()\n",
    "api-replaced",
    "type",
)
fails(
    "another class under the API's name",
    f"{CLASS}{NEW}import pluginapi\npluginapi.Greeter = Bad\n",
    "api-replaced",
    "type",
)
fails(
    "a method of the API exchanged",
    f"{CLASS}{NEW}import pluginapi\ndef init(self, host): raise SystemExit(3)\npluginapi.Plugin.init = init\n",
    "api-replaced",
    "type",
)
fails(
    "a module of the host is gone",
    f"{CLASS}{NEW}import sys\nfor name in list(sys.modules):\n    if name.startswith('pluginhost'): del sys.modules[name]\n",
    "process-changed",
    "import",
    serves=True,
)
for _title, _code in {"are gone": "sys.modules.clear()", "are in another dict": "sys.modules = {}"}.items():
    fails(f"all modules {_title}", f"{CLASS}{NEW}import sys\n{_code}\n", "api-replaced", "type", also="process-changed")
fails("no such attribute", CLASS, "symbol-missing", "lookup")
fails("no such attribute, but its like", CLASS + "def Now(): return Bad()\n", "symbol-missing", "lookup")
after(
    "a dotted attribute that is not there",
    lambda site: site.entry_points("bad = zoo_bad:Bad.make"),
    "symbol-missing",
    "lookup",
)
serves(
    "type",
    "a dotted attribute",
    lambda site: (
        site.module(f"{CLASS}class Factories:\n    New = staticmethod(Bad)\n"),
        site.entry_points("bad = zoo_bad:Factories.New"),
    ),
)
for _title, _raised in {
    "an error": "ValueError",
    "SystemExit": "SystemExit(3)",
    "CancelledError": "__import__('asyncio').CancelledError",
}.items():
    after(
        f"a property that raises {_title}",
        lambda site, raised=_raised: (
            site.module(f"class X:\n    @property\n    def y(self): raise {raised}\nX = X()\n"),
            site.entry_points("bad = zoo_bad:X.y.z"),
        ),
        "symbol-missing",
        "lookup",
    )
    fails(
        f"a module whose __getattr__ raises {_title}",
        f"def __getattr__(name): raise {_raised}\n",
        "symbol-missing",
        "lookup",
    )
fails("a module whose __dir__ raises", "def __dir__(): raise SystemExit(3)\n", "symbol-missing", "lookup")
fails("a module whose __dir__ tells numbers", "def __dir__(): return [1, None]\n", "symbol-missing", "lookup")
fails(
    "a module that is replaced by an object",
    "import sys\nsys.modules[__name__] = object()\n",
    "symbol-missing",
    "lookup",
)
fails("a module that is replaced by None", "import sys\nsys.modules[__name__] = None\n", "symbol-missing", "lookup")
fails(
    "a module that is replaced by what always raises",
    "import sys\nclass M:\n    def __getattribute__(self, name): raise SystemExit(3)\nsys.modules[__name__] = M()\n",
    "symbol-missing",
    "lookup",
)
serves(
    "type",
    "a module that is replaced by one that serves",
    _module(f"{CLASS}import sys\nclass M:\n    New = Bad\nsys.modules[__name__] = M()\n"),
)
fails("a module that removes itself", f"{CLASS}{NEW}import sys\ndel sys.modules[__name__]\n", "import-failed", "import")
serves(
    "type",
    "a module that New() removes",
    _module(f"{CLASS}import sys\ndef New():\n    sys.modules.pop(__name__, None)\n    return Bad()\n"),
)
for _title, _new in {
    "a text": "New = 'Bad'",
    "a number": "New = 7",
    "None": "New = None",
    "an object": "New = object()",
    "a module": "import os as New",
    "a property": "New = property(lambda self: Bad())",
}.items():
    fails(f"New is {_title}", f"{CLASS}{_new}\n", "factory-not-callable", "new")
for _title, _new in {
    "is an abstract class": "class New(Greeter): ...",
    "is the contract": "New = Greeter",
    "raises": "def New(): raise ValueError('no')",
    "raises SystemExit": "def New(): raise SystemExit(3)",
    "raises CancelledError": "import asyncio\ndef New(): raise asyncio.CancelledError",
    "raises GeneratorExit": "def New(): raise GeneratorExit",
    "raises StopIteration": "def New(): raise StopIteration",
    "raises AssertionError": "def New(): assert False",
    "raises a group": "def New(): raise BaseExceptionGroup('g', [SystemExit(3)] * 10_000)",
    "calls itself for ever": "def New(): return New()",
    "raises an error of the host": "from pluginhost import PluginNotFound, errors\ndef New(): raise errors.PluginRefused(errors.Finding('disabled', 'm', 'h'))",
}.items():
    fails(f"New {_title}", f"{CLASS}{_new}\n", "factory-failed", "new")
for _title, _returned in {
    "a dict": "{}",
    "None": "None",
    "a class": "Bad",
    "a text": "'bad'",
    "a function": "New",
    "the module": "__import__(__name__)",
    "a generator": "(yield Bad())",
    "a greeter of no contract": "type('G', (), {'lang': 'x', 'greet': lambda self, name: name})()",
    "another contract": "type('T', (__import__('pluginapi').Transformer,), {'transform': lambda self, text: text})()",
    "the bare base": "type('P', (__import__('pluginapi').Plugin,), {})()",
    "a mock": "__import__('unittest.mock').mock.MagicMock(spec=Bad)",
}.items():
    fails(f"New returns {_title}", f"{CLASS}def New(): return {_returned}\n", "wrong-type", "type")
fails("New is a coroutine function", f"{CLASS}async def New(): return Bad()\n", "wrong-type", "type")
fails("New is an asynchronous generator", f"{CLASS}async def New(): yield Bad()\n", "wrong-type", "type")
for _title, _class in {
    "a lying __class__": "class Lie:\n    @property\n    def __class__(self): return Bad\n",
    "a lying __class__ attribute": "class Lie:\n    __class__ = Bad\n",
    "ABC.register": "class Lie: ...\nGreeter.register(Lie)\n",
    "a class whose module is a number": "class Lie:\n    __module__ = 7\n",
    "a class whose module is a list": "class Lie:\n    __module__ = []\n",
    "a class whose module cannot be printed": "class M:\n    def __repr__(self): raise SystemExit(3)\nclass Lie:\n    __module__ = M()\n",
    "a class whose module raises": "class T(type):\n    @property\n    def __module__(cls): raise SystemExit(3)\nclass Lie(metaclass=T): ...\n",
    "a class of an enormous name": "Lie = type('L' * 10**6, (), {})\n",
    "a class of a name of control characters": "Lie = type('\\x1b[2J\\u202e', (), {})\n",
    "a class that raises at each access": "class Lie:\n    def __getattribute__(self, name): raise SystemExit(3)\n",
    "a proxy of a greeter": "class Lie:\n    def __getattribute__(self, name): return getattr(Bad(), name)\n",
    "a lying __instancecheck__": "class T(type):\n    def __instancecheck__(cls, obj): return True\n    def __subclasscheck__(cls, sub): return True\nclass Lie(metaclass=T): ...\n",
    "a lying __mro__": "class Lie:\n    __mro__ = Bad.__mro__\n    __bases__ = (Bad,)\n",
    "a metaclass's lying __mro__": "class T(type):\n    __mro__ = property(lambda cls: Bad.__mro__)\nclass Lie(metaclass=T): ...\n",
}.items():
    fails(f"an instance of {_title}", f"{CLASS}{_class}New = lambda: Lie()\n", "wrong-type", "type")
for _title, _class in {
    "asynchronous methods": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    async def greet(self, name): return name\n',
    "an asynchronous generator for a method": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    async def greet(self, name): yield name\n',
    "an asynchronous static method": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    @staticmethod\n    async def greet(name): return name\n',
    "an asynchronous class method": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    @classmethod\n    async def greet(cls, name): return name\n',
    "an asynchronous init": f"{CLASS}    async def init(self, host): ...\n",
    "an asynchronous shutdown": f"{CLASS}    async def shutdown(self): ...\n",
    "None for a method": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    greet = None\n',
    "a text for a method": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    greet = "hello"\n',
    "a method without its parameter": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    def greet(self): return "x"\n',
    "a method with a parameter more": f'{HEAD}class Bad(Greeter):\n    lang = "x"\n    def greet(self, name, title): return "x"\n',
    "no attribute": f"{HEAD}class Bad(Greeter):\n    def greet(self, name): return name\n",
    "an attribute of another type": f"{HEAD}class Bad(Greeter):\n    lang = 7\n    def greet(self, name): return name\n",
    "an attribute that raises": f"{HEAD}class Bad(Greeter):\n    lang = property(lambda self: 1 / 0)\n    def greet(self, name): return name\n",
    "an attribute that raises SystemExit": f"{HEAD}class Bad(Greeter):\n    @property\n    def lang(self): raise SystemExit(3)\n    def greet(self, name): return name\n",
    "an attribute that lies of its class": f"{HEAD}class L:\n    __class__ = str\nclass Bad(Greeter):\n    lang = L()\n    def greet(self, name): return name\n",
    "an attribute whose class raises": f"{HEAD}class L:\n    @property\n    def __class__(self): raise SystemExit(3)\nclass Bad(Greeter):\n    lang = L()\n    def greet(self, name): return name\n",
}.items():
    fails(f"a plugin with {_title}", f"{_class}{NEW}", "contract-broken", "type")
for _title, _class in {
    "__bool__ raises": "    def __bool__(self): raise SystemExit(3)\n",
    "__len__ raises": "    def __len__(self): raise SystemExit(3)\n",
    "__eq__ raises": "    def __eq__(self, other): raise SystemExit(3)\n    __hash__ = object.__hash__\n",
    "__hash__ raises": "    def __hash__(self): raise SystemExit(3)\n",
    "__hash__ is None": "    __hash__ = None\n",
    "__repr__ raises": "    def __repr__(self): raise SystemExit(3)\n",
    "__str__ and __format__ raise": "    def __str__(self): raise SystemExit(3)\n    def __format__(self, spec): raise SystemExit(3)\n",
    "__class__ raises": "    @property\n    def __class__(self): raise SystemExit(3)\n",
    "__class__ lies": "    __class__ = dict\n",
    "__setattr__ raises": "    def __setattr__(self, name, value): raise SystemExit(3)\n",
    "__delattr__ raises": "    def __delattr__(self, name): raise SystemExit(3)\n",
    "__dict__ is not there": "    __slots__ = ()\n",
    "__dir__ raises": "    def __dir__(self): raise SystemExit(3)\n",
    "__iter__ and __contains__ raise": "    def __iter__(self): raise SystemExit(3)\n    def __contains__(self, x): raise SystemExit(3)\n",
    "__call__ is there": "    def __call__(self): raise SystemExit(3)\n",
    "__reduce__ raises": "    def __reduce_ex__(self, protocol): raise SystemExit(3)\n",
    "name is a property": "    name = property(lambda self: 'mine')\n",
    "name is a text": "    name = 'mine'\n",
    "__class_getitem__ raises": "    def __class_getitem__(cls, item): raise SystemExit(3)\n",
    "__init_subclass__ raises": "    def __init_subclass__(cls): raise SystemExit(3)\n",
    "__del__ raises": "    def __del__(self): pass\n",
}.items():
    serves("type", f"a plugin whose {_title}", _module(f"{CLASS}{_class}{NEW}"))
serves(
    "type",
    "a frozen dataclass with slots",
    _module(
        f"import dataclasses\n{HEAD}@dataclasses.dataclass(frozen=True, slots=True)\nclass Bad(Greeter):\n    lang: str = 'Bad'\n    def greet(self, name): return f'bad {{name}}'\n{NEW}"
    ),
)
serves(
    "type",
    "a class whose metaclass refuses everything",
    _module(
        f"from abc import ABCMeta\n{HEAD}class M(ABCMeta):\n    def __eq__(cls, other): raise SystemExit(3)\n    def __hash__(cls): return 1\n    def __repr__(cls): raise SystemExit(3)\n    def __instancecheck__(cls, obj): raise SystemExit(3)\nclass Bad(Greeter, metaclass=M):\n{BODY}{NEW}"
    ),
)
serves(
    "type",
    "a class of two contracts",
    _module(
        f"from pluginapi import Greeter, Transformer\nclass Bad(Greeter, Transformer):\n{BODY}    def transform(self, text): return text\n{NEW}"
    ),
)
serves("type", "a class that is the factory", _module(f"{CLASS}New = Bad\n"))
serves("type", "a factory with a default", _module(f"{CLASS}def New(a=1, *b, **c): return Bad()\n"))
serves("type", "a factory that is a partial", _module(f"import functools\n{CLASS}New = functools.partial(Bad)\n"))
for _title, _raised, _code in [
    ("ValueError", "raise ValueError('no')", "import-failed"),
    ("SystemExit", "raise SystemExit(3)", "import-failed"),
    ("os.EX_OK", "import sys; sys.exit(0)", "import-failed"),
    ("CancelledError", "import asyncio; raise asyncio.CancelledError", "import-failed"),
    ("GeneratorExit", "raise GeneratorExit", "import-failed"),
    ("AssertionError", "assert False", "import-failed"),
    ("RecursionError", "def f(): f()\nf()", "import-failed"),
    ("SyntaxError", "def", "import-failed"),
    ("SyntaxError of a NUL byte", "x = 1\n\0", "import-failed"),
    ("an error of another text encoding", "# coding: nothing\n", "import-failed"),
    ("TabError", "if 1:\n\tx\n        y", "import-failed"),
    ("a BaseException", "class E(BaseException): ...\nraise E", "import-failed"),
    ("a group", "raise BaseExceptionGroup('g', [SystemExit(3)])", "import-failed"),
    (
        "a group of 10,000 with a cycle",
        "e = ExceptionGroup('g', [ValueError(n) for n in range(10_000)])\ne.__cause__ = e\nraise e",
        "import-failed",
    ),
    ("ImportError", "import nothing_of_that_name", "import-failed"),
    ("ImportError of itself", "import zoo_bad.sub", "import-failed"),
    ("ImportError of a name", "from json import nothing", "import-failed"),
    ("an error of 100 MB", "raise ValueError('\\x1b[2J' * 25_000_000)", "import-failed"),
    (
        "an error of control characters",
        "raise ValueError('\\x1b[31m\\x00\\x07\\u202e\\u2066\\ud800' * 300)",
        "import-failed",
    ),
    ("an error of wide characters", "raise ValueError('\\U0001f600' * 5_000)", "import-failed"),
    (
        "an error whose __str__ raises",
        "class E(Exception):\n    def __str__(self): raise ValueError\n    __repr__ = __str__\nraise E",
        "import-failed",
    ),
    (
        "an error whose __str__ exits",
        "class E(Exception):\n    def __str__(self): raise SystemExit(3)\n    __repr__ = __str__\nraise E",
        "import-failed",
    ),
    (
        "an error whose __str__ is a number",
        "class E(Exception):\n    def __str__(self): return 7\nraise E",
        "import-failed",
    ),
    (
        "an error whose text raises",
        "class S(str):\n    def __bool__(self): raise SystemExit(3)\n    def __format__(self, spec): raise SystemExit(3)\n    def __len__(self): raise SystemExit(3)\nclass E(Exception):\n    def __str__(self): return S('x')\nraise E",
        "import-failed",
    ),
    (
        "an error that raises at each access",
        "class E(Exception):\n    def __getattribute__(self, name): raise SystemExit(3)\nraise E",
        "import-failed",
    ),
    (
        "an ImportError that raises at each access",
        "class E(ModuleNotFoundError):\n    def __getattribute__(self, name): raise SystemExit(3)\nraise E",
        "import-failed",
    ),
    ("a ModuleNotFoundError of no name", "raise ModuleNotFoundError", "import-failed"),
    (
        "a ModuleNotFoundError of a name that is none",
        "raise ModuleNotFoundError(name=type('N', (), {'__str__': lambda self: 1 / 0})())",
        "import-failed",
    ),
    (
        "an error whose class has no sound name",
        "E = type('\\x1b[2J' * 10_000, (Exception,), {})\nraise E",
        "import-failed",
    ),
    (
        "an error of the host",
        "from pluginhost import errors\nraise errors.PluginRefused(errors.Finding('disabled', 'm', 'h'))",
        "import-failed",
    ),
]:
    fails(f"the import raises {_title}", f"{_raised}\n", _code, "import")
fails(
    "the import raises and the process is changed",
    "import os\nos.environ['ZOO'] = 'x'\nraise ValueError('no')\n",
    "import-failed",
    "import",
    also="process-changed",
)
after("the module is not there", lambda site: _gone(site.root / "zoo_bad.py"), "module-missing", "import")
after("the module is not UTF-8", lambda site: site.write("zoo_bad.py", b"x = '\xff'\n"), "import-failed", "import")
after("the module is a folder", lambda site: _folder(site.root / "zoo_bad.py"), "module-missing", "import")
after("the module is a FIFO", lambda site: _fifo(site.root / "zoo_bad.py"), "module-missing", "import", needs="posix")
after(
    "the module is a link to itself",
    lambda site: _loop(site.root / "zoo_bad.py"),
    "module-missing",
    "import",
    needs="posix",
)
after("the module is empty", _module(""), "symbol-missing", "lookup")
after("the module is a keyword", lambda site: site.entry_points("bad = class:New"), "module-missing", "import")
after(
    "a namespace without a module",
    lambda site: (site.write("zoo_space/sub.py", BAD), site.entry_points("bad = zoo_space:New")),
    "symbol-missing",
    "lookup",
)
after(
    "a native module that is none",
    lambda site: (_gone(site.root / "zoo_bad.py"), site.write("zoo_bad.so", b"no library")),
    "import-failed",
    "import",
    needs="posix",
)
TOLD = ("sys.stdout", "sys.path", "sys.meta_path", "sys.modules", "the recursion limit", "the environment of 100 KB")
"""What real libraries change as well; the rest is grave."""
for _title, _change_it in {
    "sys.path cleared": "sys.path.clear()",
    "sys.path with a folder in front": "sys.path.insert(0, '/evil')",
    "sys.path another list": "sys.path = ['/evil']",
    "sys.path None": "sys.path = None",
    "sys.path deleted": "del sys.path",
    "sys.path of what cannot be printed": "sys.path.append(type('P', (), {'__repr__': lambda s: 1 / 0, '__eq__': lambda s, o: 1 / 0})())",
    "sys.path_hooks cleared": "sys.path_hooks.clear()",
    "sys.path_hooks None": "sys.path_hooks = None",
    "sys.meta_path cleared": "sys.meta_path.clear()",
    "sys.meta_path None": "sys.meta_path = None",
    "sys.meta_path with a finder that cannot be compared": "sys.meta_path.insert(0, type('F', (), {'find_spec': lambda s, *a: None, '__eq__': lambda s, o: 1 / 0, '__repr__': lambda s: 1 / 0})())",
    "sys.modules without the standard library's": "[sys.modules.pop(name) for name in ('json', 'logging', 'difflib', 'inspect') if name in sys.modules]",
    "the environment": "os.environ['PYTHONPATH'] = '/evil'",
    "the environment cleared": "os.environ.clear()",
    "the environment of 100 KB": "os.environ['ZOO\\x1b'] = 'x' * 100_000",
    "os.environ another dict": "os.environ = {}",
    "os.environ None": "os.environ = None",
    "the working folder": "os.chdir('/')",
    "the umask": "os.umask(0)",
    "a signal handler": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "a signal handler that cannot be printed": "import signal; signal.signal(signal.SIGTERM, type('H', (), {'__call__': lambda *a: None, '__repr__': lambda s: 1 / 0, '__eq__': lambda s, o: 1 / 0})())",
    "a timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 60)",
    "sys.excepthook": "sys.excepthook = lambda *a: None",
    "sys.excepthook what cannot be compared": "sys.excepthook = type('H', (), {'__repr__': lambda s: 1 / 0, '__eq__': lambda s, o: 1 / 0})()",
    "sys.excepthook deleted": "del sys.excepthook",
    "threading.excepthook": "import threading; threading.excepthook = lambda *a: None",
    "sys.stdout": "sys.stdout = None",
    "builtins.open": "import builtins; builtins.open = lambda *a, **k: 1 / 0",
    "builtins.__import__": "import builtins; own = builtins.__import__; builtins.__import__ = lambda *a, **k: own(*a, **k)",
    "the recursion limit": "sys.setrecursionlimit(5000)",
    "sys.setprofile": "sys.setprofile(lambda *a: None)",
    "the time zone": "os.environ['TZ'] = 'X'",
}.items():
    serves(
        "type",
        f"changed: {_title}",
        _module(f"import os, sys\n{CLASS}{NEW}{_change_it}\n"),
        "process-changed" if _title.startswith(TOLD) else "process-unsafe",
        "import",
        needs="posix" if "timer" in _title else "",
    )
serves(
    "type",
    "changed by New(): the environment",
    _module(f"import os\n{CLASS}def New():\n    os.environ['ZOO'] = 'x'\n    return Bad()\n"),
    "process-changed",
    "import",
)
