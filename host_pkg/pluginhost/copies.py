"""Copies of the API, and modules that are not a plugin's own, told from files alone, before anything is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pluginhost.discovery import Discovery
    from pluginhost.survey import Candidate, Distribution


def check_api(package: str, api: Distribution, discovery: Discovery) -> Iterator[Finding]:
    """Yields a finding when the API package is there more than once: on the search path, or as a distribution."""
    discovery.sign_module(package)
    copies = list(dict.fromkeys(os.path.realpath(place) for place in places(package, discovery.path)))
    carried = set(_carried(package, api, discovery)) if len(copies) > 1 else set()
    if copies and copies[0] not in carried:  # a plugin's copy that imports do not find first costs that plugin alone
        copies = [place for place in copies if place not in carried]
    distributions = [api.info, *(api.facts.shadowed if api.facts else ())]
    if len(copies) > 1 or len({os.path.realpath(info) for info in distributions}) > 1:
        yield Finding(
            "api-duplicated",
            f"there are {max(len(copies), len(distributions))} copies of the API package {package!r}: "
            f"{' and '.join(copies)}, of the distributions {' and '.join(distributions)}",
            f"keep one: pip uninstall {api.name} until none is left, then install the one that you want; look for "
            f"folders on PYTHONPATH and in .pth files that hold {package}",
            copies[-1] if copies else api.info,
        )


def _carried(package: str, api: Distribution, discovery: Discovery) -> Iterator[str]:
    """Yields the real paths of the copies that plugins' distributions bring to the search path."""
    start = f"{package.replace('.', '/')}/__init__.py"
    for candidate in discovery.candidates:
        distribution = candidate.distribution
        if distribution.info != api.info:
            for path, _ in _files(distribution):
                found = path if path == start else _added(distribution, path, start) if path.endswith(".pth") else ""
                if found:
                    yield os.path.realpath(os.path.join(distribution.origin, found))


def hashes(package: str, api: Distribution) -> frozenset[str]:
    """Returns the hashes of an API package's source files that define contracts.

    The others prove nothing: an empty `__init__.py`, a line with the version, a helper are alike in many packages.
    """
    start = package.replace(".", "/")
    return frozenset(
        digest
        for path, digest in _files(api)
        if digest and path.endswith(".py") and path.startswith((f"{start}/", f"{start}.")) and _has_contracts(api, path)
    )


def check_vendored(
    distribution: Distribution, package: str, api: Distribution, own: frozenset[str]
) -> Iterator[Finding]:
    """Yields a finding for a copy of the API that a plugin's distribution carries, under its own or another name.

    Args:
        distribution: The plugin's.
        package: The import name of the API package.
        api: The distribution that provides it.
        own: What `hashes` returned for that.
    """
    if distribution.facts is None or distribution.info == api.info:
        return
    start = f"{package.replace('.', '/')}/__init__.py"
    found = ""
    for path, digest in _files(distribution):
        if path == start or path.endswith(f"/{start}") or (path.endswith(".py") and digest in own):
            found = path
        elif path.endswith((".zip", ".whl", ".egg")):
            inner = (file for file in _archived(distribution, path) if f"/{file}".endswith(f"/{start}"))
            found = next((f"{path}/{file}" for file in inner), "")
        elif path.endswith(".pth") and not distribution.facts.editable:
            found = _added(distribution, path, start)
        if found:
            yield Finding(
                "api-vendored",
                f"{distribution} carries a copy of the API package {package!r}: {found}; the host's is {api} in "
                f"{api.origin}",
                f"its author removes the copy and depends on {api.name}; until then: pip uninstall {distribution.name}",
                f"{distribution.origin}/{found}",
            )
            return


class Owners:
    """Which distributions list the files of the candidates' modules, and their programs.

    Attributes:
        by_file: The distributions by the path of each file.
        shared: The files that more than one lists.
    """

    __slots__ = ("by_file", "shared")

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        files = {file for candidate in candidates for file in _own_files(candidate)}
        self.by_file: dict[str, list[Distribution]] = {}
        for distribution in {id(candidate.distribution): candidate.distribution for candidate in candidates}.values():
            for path, _ in _files(distribution):
                if path in files:
                    self.by_file.setdefault(path, []).append(distribution)
        self.shared = [file for file, listing in self.by_file.items() if len(listing) > 1]


def check_module(
    candidate: Candidate,
    package: str,
    api: Distribution,
    discovery: Discovery,
    owned: Owners,
) -> Iterator[Finding]:
    """Yields a finding when a candidate's module is not its distribution's own, or stands in the way of another.

    Args:
        candidate: The plugin.
        package: The import name of the API package.
        api: The distribution that provides it.
        discovery: All that was found, and where.
        owned: Who lists which file.
    """
    distribution, top = candidate.distribution, candidate.module.partition(".")[0]
    pythons = top in sys.stdlib_module_names or top.startswith("__")  # `__main__` is the host's own program
    of = "Python" if pythons else "the host" if top in {"pluginhost", "pluginapi"} else ""
    of = of or ("the API" if top == package.partition(".")[0] else "")
    if of and not (_owns(distribution, candidate.module) and (distribution.info == api.info or _is_host(distribution))):
        yield _foreign_module(candidate, "module-shadows", f"which is {of}'s")
        return
    if what := _brought_by_others(candidate, owned):
        yield _foreign_module(candidate, "module-foreign", what)
        return
    # What is nowhere fails when it is imported, and says so then.
    if _is_listed(distribution) and not _owns(distribution, candidate.module):
        discovery.sign_module(candidate.module)
        if any(places(candidate.module, discovery.path)):
            yield _foreign_module(candidate, "module-foreign", "which is not among its files")


def check_program(candidate: Candidate, owned: Owners) -> Iterator[Finding]:
    """Yields a finding when the program of a candidate is a file, and not its distribution's own.

    Args:
        candidate: The plugin, which is a program.
        owned: Who lists which file.
    """
    distribution, program = candidate.distribution, candidate.program
    if what := _brought_by_others(candidate, owned):
        yield _foreign_module(candidate, "module-foreign", what)
    elif "/" in program and _is_listed(distribution) and program not in dict(_files(distribution)):
        yield Finding(
            "program-missing",
            f"{distribution} registers {candidate.name!a} as the program {program!r}, which is not among its files",
            f"its author adds it to the wheel; until then: pip uninstall {distribution.name}",
            f"{distribution.origin}/{program}",
        )


def check_native(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding when an extension module was built for other interpreters or platforms alone."""
    modules: dict[str, list[str]] = {}
    for path, _ in _files(distribution):
        if path.endswith((".so", ".pyd")):
            folder, _, file = path.rpartition("/")
            modules.setdefault(f"{folder}/{file.partition('.')[0]}", []).append(file)
    if not modules:
        return
    from importlib.machinery import EXTENSION_SUFFIXES  # most plugins have none

    for module, files in modules.items():
        suffixes = [file[file.index(".") :] for file in files]
        # `.so` alone fits, or is no module at all; so do versions in the name of a library.
        tagged = all(suffix[1:].startswith(("cpython-", "cp3", "pypy", "graalpy", "abi3")) for suffix in suffixes)
        if tagged and not set(suffixes) & set(EXTENSION_SUFFIXES):
            yield Finding(
                "native-incompatible",
                f"{distribution}: {module.strip('/')} was built for {', '.join(suffixes)}, and this Python loads "
                f"{', '.join(EXTENSION_SUFFIXES)}",
                f"install a {distribution.name} built for this Python and platform: "
                f"pip install --force-reinstall {distribution.name}",
                f"{distribution.origin}/{files[0]}",
            )


def places(module: str, path: Iterable[str]) -> Iterator[str]:
    """Yields the files that a module would be imported from, one for each entry of the path that has it."""
    file, package = _starts(module)
    for entry in path:
        members = _members(entry)
        for name in (package, file):
            if os.path.isfile(f"{entry}/{name}") or name in members:
                yield f"{entry}{os.sep}{name}"
                break


def _members(archive: str) -> set[str]:
    if not os.path.isfile(archive):
        return set()
    import zipfile  # most search paths have no archive

    try:
        with zipfile.ZipFile(archive) as opened:
            return set(opened.namelist())
    except Exception:  # zipfile raises much more than BadZipFile
        return set()


def _has_contracts(api: Distribution, path: str) -> bool:
    """Returns whether a file of the API defines classes upon `Plugin`; what cannot be read may."""
    try:
        with open(f"{api.origin}{os.sep}{path}", "rb") as file:
            source = file.read()
    except OSError:
        return True
    return b"class " in source and b"Plugin" in source


def _is_host(distribution: Distribution) -> bool:
    return distribution.name in {"pluginhost", "pluginapi"}


def _archived(distribution: Distribution, path: str) -> Iterable[str]:
    if not os.path.isfile(distribution.origin):
        return _members(f"{distribution.origin}{os.sep}{path}")
    import zipfile

    from pluginhost import archives  # most plugins hold none

    try:
        with zipfile.ZipFile(distribution.origin) as wheel, wheel.open(path) as inner:
            return archives.names(inner)
    except Exception:  # as in _members
        return ()


def _added(distribution: Distribution, path: str, start: str) -> str:
    """Returns the copy in a folder that a `.pth` file puts on the path; empty when there is none."""
    if not os.path.isfile(f"{distribution.origin}{os.sep}{path}"):
        return ""  # opening a FIFO would block
    try:
        with open(f"{distribution.origin}{os.sep}{path}", encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return ""
    for line in lines:
        if os.path.isfile(os.path.join(distribution.origin, line.strip(), start)):
            return f"{line.strip()}/{start}"
    return ""


def _starts(module: str) -> tuple[str, str]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def _is_intact(distribution: Distribution, path: str) -> bool:
    """Returns whether a file is still the one that a distribution brought."""
    import base64
    import hashlib  # only where two distributions list one file

    listed = dict(_files(distribution)).get(path, "")
    try:
        with open(f"{distribution.origin}{os.sep}{path}", "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return False
    return listed == "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _own_files(candidate: Candidate) -> tuple[str, ...]:
    """Returns the files with which a candidate's code begins."""
    if candidate.program:
        return (candidate.program,) if "/" in candidate.program else ()
    return _starts(candidate.module)


def _brought_by_others(candidate: Candidate, owned: Owners) -> str:
    """Returns which of a candidate's files are not its distribution's any more, and whose they are; else nothing."""
    distribution, starts = candidate.distribution, _own_files(candidate)
    for file in (*starts, *(file for file in owned.shared if file not in starts)):
        listing = owned.by_file.get(file, [])
        own = file in starts
        others = [other for other in listing if other is not distribution]
        if not others or not (own or len(others) < len(listing)):
            continue
        # Whoever was installed last wrote the file: it is his whose RECORD has its hash.
        if not _is_intact(distribution, file) or (own and any(_is_intact(other, file) for other in others)):
            of = " and ".join(map(str, others))
            return f"whose {file} {of} brings too" if own else f"and lists {file}, which is {of}'s"
    return ""


def _is_listed(distribution: Distribution) -> bool:
    """Returns whether a distribution's RECORD tells of all its files."""
    facts = distribution.facts
    return bool(facts and facts.files is not None and not facts.editable)


def _owns(distribution: Distribution, module: str) -> bool:
    path, starts = module.replace(".", "/"), _starts(module)
    return any(
        file in starts or (file.startswith(f"{path}.") and file.endswith((".so", ".pyd"))) or file == f"{path}.pyc"
        for file, _ in _files(distribution)
    )


def _files(distribution: Distribution) -> Iterable[tuple[str, str]]:
    return distribution.facts.files.items() if distribution.facts and distribution.facts.files else ()


def _foreign_module(candidate: Candidate, code: str, what: str) -> Finding:
    kind, where = ("program", candidate.program) if candidate.program else ("module", candidate.module)
    return Finding(
        code,
        f"{candidate.distribution} registers {candidate.name!a} in the {kind} {where!r}, {what}",
        f"its author names a {kind} of its own; until then: pip uninstall {candidate.distribution.name}",
        f"{candidate.distribution.info}/entry_points.txt",
    )
