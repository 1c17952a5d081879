"""What a wheel file must be before anything of it is written.

Names, versions and tags are packaging's to judge, hashes installer's, and the archive is looked through before zipfile
reads out of it. Memory is bounded: what is read whole has its length checked first, and the rest is streamed.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pluginhost import archives, requirements
from pluginhost.archives import shown
from pluginhost.discovery import FILE_LIMIT, RECORD_LIMIT, Discovery
from pluginhost.errors import Finding, describe
from pluginhost.metadata import parse_metadata
from pluginhost.survey import Distribution, Facts

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO, Final

    from packaging.tags import Tag

HINTS: Final = {
    "wheel-malformed": "copy it anew; if it stays so, its author builds it anew",
    "wheel-unsafe": "do not use it: remove the file, and tell its author",
    "wheel-record": "get it anew from where it comes: it is not what its author built",
    "wheel-clash": "remove it, or uninstall what has that module already",
    "wheel-incompatible": "put the wheel for this Python and platform beside it, or instead",
    "module-shadows": "its author names a module of its own; until then remove the file",
    "api-vendored": "its author removes the copy and depends on the API's distribution; until then remove the file",
}

# What a RECORD may give; md5 and sha1 can be made to fit.
_HASHES: Final = {"sha256", "sha384", "sha512"}

_MODULES: Final = (".py", ".so", ".pyd")
_OWN_FILES: Final = {"direct_url.json"}


class Wheel:
    """What a wheel file is said to be, and what speaks against it.

    Attributes:
        path: The file.
        name: The distribution's name, normalised; empty when the file's name is not one of a wheel.
        version: Its version.
        build: Its build tag.
        tags: The Pythons and platforms that it is for.
        info: The name of its dist-info folder; empty until it was found.
        findings: All that is wrong; without an error among them it may be unpacked.
    """

    __slots__ = ("build", "findings", "info", "name", "path", "tags", "version")

    def __init__(self, path: str) -> None:
        self.path = path
        self.info = ""
        self.findings: list[Finding] = []
        self.name = ""
        self.version = Version("0")
        self.build: tuple[()] | tuple[int, str] = ()
        self.tags: frozenset[Tag] = frozenset()
        try:
            self.name, self.version, self.build, self.tags = parse_wheel_filename(os.path.basename(path))
        except ValueError as exc:
            self.tell("wheel-malformed", str(exc))
            return
        if self.rank is None:
            what = (
                f"is for {shown(sorted(map(str, self.tags)))}, which this Python or platform is not; it is passed over"
            )
            self.tell("wheel-incompatible", what)

    @property
    def rank(self) -> int | None:
        """How well it fits this Python and platform, the least best; `None` when it does not."""
        ranks = _ranks()
        return min((ranks[tag] for tag in self.tags if tag in ranks), default=None)

    @property
    def is_sound(self) -> bool:
        """Whether no error speaks against it."""
        return all(finding.severity != "error" for finding in self.findings)

    def tell(self, code: str, what: str) -> None:
        """Leaves a finding."""
        about = f"{self}: " if self.name else ""
        self.findings.append(Finding(code, f"{about}{self.path} {what}", HINTS[code], self.path))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def check(file: IO[bytes], path: str, package: str | None, search: Sequence[str]) -> Wheel:
    """Returns what a wheel file is, with all that is wrong; where reading on would not be safe it ends there.

    Args:
        file: The file, open; it does not change meanwhile, or what is told may be of none of its states.
        path: Its path, for its name and to tell of it.
        package: The import name of the API package, of which there may be no second one.
        search: The folders of whose modules it may bring none.
    """
    wheel = Wheel(path)
    try:
        with archives.members(file) as archive:
            archive.filename = os.path.basename(path)  # installer reads it
            files = [name for name in archive.namelist() if not name.endswith("/")]
            _check_names(wheel, files, package)
            _check_info(wheel, archive, files)
            if wheel.info:
                _check_record(wheel, archive, files)
            if wheel.is_sound:
                _check_nested(wheel, archive, files, package)
                _check_clash(wheel, files, search)
    except archives.Unsafe as exc:
        wheel.tell("wheel-unsafe", f"is not safe to unpack: {exc}")
    except archives.Malformed as exc:
        wheel.tell("wheel-malformed", f"is not a wheel: {exc}")
    except Exception as exc:  # an archive may be damaged in many ways, and zipfile raises much more than BadZipFile
        wheel.tell("wheel-malformed", f"cannot be read: {describe(exc)}")
    return wheel


def _check_names(wheel: Wheel, files: list[str], package: str | None) -> None:
    """Tells of members that no plugin's wheel should have."""
    tops = dict.fromkeys(name.partition("/")[0] for name in files)
    for what, found in {
        "holds .pth files, which would change the host's path": [
            name for name in tops if name.lower().endswith(".pth")
        ],
        "holds compiled files, which would run in the place of their source": [
            name
            for name in files
            if name.lower().endswith((".pyc", ".pyo")) or "__pycache__" in name.lower().split("/")
        ],
        "holds scripts, headers or data for other places": [name for name in tops if name.lower().endswith(".data")],
        "holds metadata of another distribution": [
            name for name in tops if name.lower().endswith((".egg-info", ".egg-link"))
        ],
        "holds what only an installer may write": [
            name for name in files if ".dist-info/" in name and name.rpartition("/")[2].lower() in _OWN_FILES
        ],
    }.items():
        if found:
            wheel.tell("wheel-unsafe", f"{what}: {shown(found)}")
    if taken := list(filter(_is_taken, _modules(files))):
        wheel.tell("module-shadows", f"brings modules that are called like Python's or the host's: {shown(taken)}")
    if copies := [name for name in files if _is_copy(name, package)]:
        wheel.tell("api-vendored", f"carries a copy of the API package: {shown(copies)}")


def _is_module(name: str) -> bool:
    return name.lower().endswith(_MODULES)


def _is_taken(module: str) -> bool:
    own = {"pluginhost", "sitecustomize", "usercustomize"}
    return module in sys.stdlib_module_names or module in own or module.startswith("__")


def _is_copy(name: str, package: str | None) -> bool:
    """Returns whether a member is the beginning of a copy of an API package, at whatever depth."""
    for api in {"pluginapi", package or "pluginapi"}:
        path = api.replace(".", "/")
        if f"/{name}".endswith(f"/{path}/__init__.py") or name == f"{path}.py" or name.startswith(f"{path}/"):
            return True
    return False


def _check_info(wheel: Wheel, archive: zipfile.ZipFile, files: list[str]) -> None:
    """Tells whether dist-info folder, METADATA and WHEEL are there, agree with the file's name, and fit this Python."""
    infos = sorted({name.partition("/")[0] for name in archive.namelist()})
    infos = [name for name in infos if name.lower().endswith(".dist-info")]
    if len(infos) != 1:
        wheel.tell("wheel-malformed", f"has {len(infos)} dist-info folders, not one: {shown(infos)}")
        return
    [info] = infos
    if missing := [name for name in ("METADATA", "WHEEL", "RECORD") if f"{info}/{name}" not in files]:
        wheel.tell("wheel-malformed", f"has no {' and no '.join(missing)} in its {info[:100]!a}")
        return
    if not wheel.name:
        return
    name, _, version = info.removesuffix(".dist-info").rpartition("-")
    if not _agrees(wheel, name, version):
        wheel.tell("wheel-malformed", f"has a dist-info folder of another name or version: {info[:100]!a}")
        return
    try:
        name, version, python, *_ = parse_metadata(_text(archive, f"{info}/METADATA", FILE_LIMIT))
        if not _agrees(wheel, name, version):
            wheel.tell("wheel-malformed", f"calls itself {name[:100]} {version[:100]} in its METADATA")
        _check_format(wheel, _text(archive, f"{info}/WHEEL", FILE_LIMIT))
    except ValueError as exc:
        wheel.tell("wheel-malformed", f"has metadata that cannot be read: {exc}")
        return
    wheel.info = info
    of = Distribution(wheel.name, str(wheel.version), wheel.path, f"{wheel.path}/{info}", Facts(requires_python=python))
    wheel.findings += requirements.check_python(of)


def _agrees(wheel: Wheel, name: str, version: str) -> bool:
    try:
        return canonicalize_name(name) == wheel.name and Version(version[: requirements.LONGEST]) == wheel.version
    except ValueError:
        return False


def _check_format(wheel: Wheel, text: str) -> None:
    from installer.utils import parse_metadata_file

    version = str(parse_metadata_file(text)["Wheel-Version"])
    if version.partition(".")[0].strip() != "1" or "." not in version:
        wheel.tell("wheel-malformed", f"has the Wheel-Version {version[:100]!a}, and 1.x is known")


def _text(archive: zipfile.ZipFile, name: str, limit: int) -> str:
    size = archive.getinfo(name).file_size
    if size > limit:
        raise ValueError(f"{name} has {size:,} bytes, and {limit:,} is the most")
    return archive.read(name).decode("utf-8")


def _check_record(wheel: Wheel, archive: zipfile.ZipFile, files: list[str]) -> None:
    """Tells whether RECORD lists every file and no other, and each is what RECORD says."""
    from installer.records import parse_record_file
    from installer.sources import WheelFile

    try:
        rows = list(parse_record_file(_text(archive, f"{wheel.info}/RECORD", RECORD_LIMIT).splitlines()))
    except Exception as exc:  # csv's error and installer's have no common base
        wheel.tell("wheel-record", f"has a RECORD that cannot be read: {describe(exc)}")
        return
    listed = [path for path, _, _ in rows]
    if absent := sorted(set(listed) - set(files)):
        wheel.tell("wheel-record", f"does not hold what its RECORD lists: {shown(absent)}")
    if len(listed) != len(set(listed)):
        wheel.tell("wheel-record", "lists a file twice in its RECORD")
    if weak := [path for path, digest, _ in rows if digest and digest.partition("=")[0] not in _HASHES]:
        wheel.tell("wheel-record", f"has no sha256 for what its RECORD lists: {shown(weak)}")
        return
    try:
        WheelFile(archive).validate_record()
    except WheelFile.validation_error as exc:
        issues = list(getattr(exc, "issues", [str(exc)]))
        wheel.tell("wheel-record", f"is not what its RECORD says: {_issues(issues)}")
    except Exception as exc:
        wheel.tell("wheel-record", f"holds what cannot be read: {describe(exc)}")


def _issues(issues: list[str]) -> str:
    more = f" and {len(issues) - 3:,} more" if len(issues) > 3 else ""
    return "; ".join(issue.rpartition(".whl, ")[2] for issue in issues[:3]) + more


def _check_nested(wheel: Wheel, archive: zipfile.ZipFile, files: list[str], package: str | None) -> None:
    """Tells of a copy of the API in an archive that the wheel holds."""
    for name in files:
        if name.lower().endswith((".zip", ".whl", ".egg")):
            with archive.open(name) as inner:
                within = archives.names(inner)
            if copies := [f"{name}/{file}" for file in within if _is_copy(file, package)]:
                wheel.tell("api-vendored", f"carries a copy of the API package: {shown(copies)}")


def _check_clash(wheel: Wheel, files: list[str], search: Sequence[str]) -> None:
    """Tells of modules that another distribution, or something on the path, has already: those would be imported."""
    if not any(_taken_by_others(files, search)):
        return
    # Another version of the same distribution has the same modules; which of them counts is discovery's to say.
    own = _installed_modules(wheel.name, search)
    others = [name for name in files if own is not None and name.partition("/")[0].partition(".")[0] not in own]
    if found := list(_taken_by_others(others, search)):
        wheel.tell("wheel-clash", f"brings what is there already: {shown(found)}")


def _installed_modules(name: str, search: Sequence[str]) -> set[str] | None:
    """Returns what an installed distribution has at its top; `None` when its files do not tell."""
    discovery = Discovery(search)
    if discovery.installed(name) is None:
        return set()
    of = discovery.distribution(name)
    if of is None or of.facts is None or of.facts.files is None or of.facts.editable:
        return None
    return {path.partition("/")[0].partition(".")[0] for path in of.facts.files}


def _modules(files: list[str]) -> dict[str, list[str]]:
    """Returns the modules that a wheel brings at its top, and the files of each."""
    found: dict[str, list[str]] = {}
    for name in files:
        top, slash, _ = name.partition("/")
        if slash and not top.lower().endswith(".dist-info"):
            found.setdefault(top, []).append(name)
        elif not slash and _is_module(name):
            found.setdefault(top.partition(".")[0], []).append(name)
    return found


def _taken_by_others(files: list[str], search: Sequence[str]) -> Iterator[str]:
    for module, within in _modules(files).items():
        regular = any("/" not in name or name.startswith(f"{module}/__init__.") for name in within)
        for entry in search:
            yield from _taken(entry, module, [] if regular else within)


def _taken(entry: str, module: str, parts: list[str]) -> Iterator[str]:
    """Yields what an entry of the path has of a module, or of the parts of a namespace package."""
    if os.path.isfile(entry):
        yield from _taken_by_archive(entry, module)
        return
    for file in _starts(module):
        if os.path.isfile(f"{entry}{os.sep}{file}"):
            yield f"{entry}{os.sep}{file}"
            return
    if not os.path.isdir(f"{entry}{os.sep}{module}"):
        return
    if parts:
        yield from (f"{entry}{os.sep}{part}" for part in parts if os.path.lexists(f"{entry}{os.sep}{part}"))
    elif _is_shared(entry, module):
        yield f"{entry}{os.sep}{module}{os.sep}"


def _starts(module: str) -> Iterable[str]:
    from importlib.machinery import EXTENSION_SUFFIXES

    own = (f"{module}{suffix}" for suffix in (".py", *EXTENSION_SUFFIXES))
    return (f"{module}{os.sep}__init__.py", *own)


def _taken_by_archive(entry: str, module: str) -> Iterator[str]:
    import zipimport

    try:
        if zipimport.zipimporter(entry).find_spec(module):
            yield f"{entry}{os.sep}{module}"
    except Exception:  # what cannot be read has no modules
        return


def _is_shared(entry: str, module: str) -> bool:
    """Returns whether a folder is a namespace package of installed distributions, which a regular one would hide."""
    try:
        if not any(name.endswith(".dist-info") for name in os.listdir(entry)):
            return False  # a project's folder beside the program is no package
        inner = list(os.scandir(f"{entry}{os.sep}{module}"))
    except OSError:
        return False
    return any(_is_module(each.name) or os.path.isfile(f"{each.path}{os.sep}__init__.py") for each in inner)


@lru_cache(maxsize=1)
def _ranks() -> dict[Tag, int]:
    from packaging.tags import sys_tags

    return {tag: number for number, tag in enumerate(sys_tags())}
