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
    for entry in discovery.path:
        discovery.sign(f"{entry}{os.sep}{package.replace('.', os.sep)}")  # where a copy would come to be
    places = list(dict.fromkeys(os.path.realpath(place) for place in _places(package, discovery.path)))
    distributions = [api.info, *(api.facts.shadowed if api.facts else ())]
    if len(places) > 1 or len({os.path.realpath(info) for info in distributions}) > 1:
        yield Finding(
            "api-duplicated",
            f"there are {max(len(places), len(distributions))} copies of the API package {package!r}: "
            f"{' and '.join(places)}, of the distributions {' and '.join(distributions)}",
            f"keep one: pip uninstall {api.name} until none is left, then install the one that you want; look for "
            f"folders on PYTHONPATH and in .pth files that hold {package}",
            places[-1] if places else api.info,
        )


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


def owners(candidates: Iterable[Candidate]) -> dict[str, list[Distribution]]:
    """Returns the distributions that list each file, by its path."""
    found: dict[str, list[Distribution]] = {}
    for distribution in {id(candidate.distribution): candidate.distribution for candidate in candidates}.values():
        for path, _ in _files(distribution):
            found.setdefault(path, []).append(distribution)
    return found


def check_module(
    candidate: Candidate,
    package: str,
    api: Distribution,
    path: Iterable[str],
    owned: dict[str, list[Distribution]],
) -> Iterator[Finding]:
    """Yields a finding when a candidate's module is not its distribution's own, or stands in the way of another.

    Args:
        candidate: The plugin.
        package: The import name of the API package.
        api: The distribution that provides it.
        path: The search path.
        owned: What `owners` returned for all candidates.
    """
    distribution, top = candidate.distribution, candidate.module.partition(".")[0]
    of = "Python" if top in sys.stdlib_module_names else "the host" if top in {"pluginhost", "pluginapi"} else ""
    of = of or ("the API" if top == package.partition(".")[0] else "")
    if of and not (_owns(distribution, candidate.module) and (distribution.info == api.info or _is_host(distribution))):
        yield _foreign_module(candidate, "module-shadows", f"which is {of}'s")
        return
    start = candidate.module.replace(".", "/")
    sources = [*owned.get(f"{start}.py", ()), *owned.get(f"{start}/__init__.py", ())]
    others = [str(other) for other in sources if other is not distribution]
    if others:
        too = " too" if distribution in sources else ""
        yield _foreign_module(candidate, "module-foreign", f"which {' and '.join(others)} brings{too}")
        return
    listed = distribution.facts and distribution.facts.files is not None and not distribution.facts.editable
    # What is nowhere fails when it is imported, and says so then.
    if listed and not _owns(distribution, candidate.module) and any(_places(candidate.module, path)):
        yield _foreign_module(candidate, "module-foreign", "which is not among its files")


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
        tagged = all(suffix.count(".") > 1 for suffix in suffixes)  # `.so` alone fits, or is no module at all
        if tagged and not set(suffixes) & set(EXTENSION_SUFFIXES):
            yield Finding(
                "native-incompatible",
                f"{distribution}: {module.strip('/')} was built for {', '.join(suffixes)}, and this Python loads "
                f"{', '.join(EXTENSION_SUFFIXES)}",
                f"install a {distribution.name} built for this Python and platform: "
                f"pip install --force-reinstall {distribution.name}",
                f"{distribution.origin}/{files[0]}",
            )


def _places(module: str, path: Iterable[str]) -> Iterator[str]:
    """Yields the files that a module would be imported from, one for each entry of the path that has it."""
    relative = module.replace(".", os.sep)
    for entry in path:
        for name in (f"{relative}{os.sep}__init__.py", f"{relative}.py"):
            if os.path.isfile(f"{entry}{os.sep}{name}") or name in _members(entry):
                yield f"{entry}{os.sep}{name}"
                break


def _members(archive: str) -> set[str]:
    if not os.path.isfile(archive):
        return set()
    import zipfile  # most search paths have no archive

    try:
        with zipfile.ZipFile(archive) as opened:
            return set(opened.namelist())
    except (OSError, zipfile.BadZipFile):
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

    try:
        with zipfile.ZipFile(distribution.origin) as wheel, wheel.open(path) as inner, zipfile.ZipFile(inner) as opened:
            return opened.namelist()
    except (OSError, KeyError, zipfile.BadZipFile):
        return ()


def _added(distribution: Distribution, path: str, start: str) -> str:
    """Returns the copy in a folder that a `.pth` file puts on the path; empty when there is none."""
    try:
        with open(f"{distribution.origin}{os.sep}{path}", encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return ""
    for line in lines:
        if os.path.isfile(os.path.join(distribution.origin, line.strip(), start)):
            return f"{line.strip()}/{start}"
    return ""


def _owns(distribution: Distribution, module: str) -> bool:
    path = module.replace(".", "/")
    starts = (f"{path}.py", f"{path}/__init__.py")
    return any(
        file in starts or (file.startswith(f"{path}.") and file.endswith((".so", ".pyd"))) or file == f"{path}.pyc"
        for file, _ in _files(distribution)
    )


def _files(distribution: Distribution) -> Iterable[tuple[str, str]]:
    return distribution.facts.files.items() if distribution.facts and distribution.facts.files else ()


def _foreign_module(candidate: Candidate, code: str, what: str) -> Finding:
    return Finding(
        code,
        f"{candidate.distribution} registers {candidate.name!a} in the module {candidate.module!r}, {what}",
        f"its author names a module of its own; until then: pip uninstall {candidate.distribution.name}",
        f"{candidate.distribution.info}/entry_points.txt",
    )
