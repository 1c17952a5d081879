"""Copies of the API, and modules that are not a plugin's own, told from files alone, before anything is imported."""

from __future__ import annotations

import os
import sys
import zipfile
from typing import TYPE_CHECKING

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pluginhost.discovery import Discovery
    from pluginhost.survey import Candidate, Distribution


def check_api(package: str, api: Distribution, discovery: Discovery) -> Iterator[Finding]:
    """Yields a finding when the API package is there more than once: on the search path, or as a distribution."""
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


def check_vendored(candidate: Candidate, package: str, api: Distribution) -> Iterator[Finding]:
    """Yields a finding for a copy of the API that a plugin's distribution carries, under its own or another name."""
    distribution = candidate.distribution
    if distribution.facts is None or distribution.info == api.info:
        return
    start = f"{package.replace('.', '/')}/__init__.py"
    own = {digest for path, digest in _files(api) if path.endswith(".py") and digest and "/" in path}
    empty = {digest for path, digest in _files(api) if path.endswith("py.typed")}
    found = ""
    for path, digest in _files(distribution):
        if path == start or path.endswith(f"/{start}") or (path.endswith(".py") and digest in own - empty):
            found = path
        elif path.endswith((".zip", ".whl", ".egg")) and start in _archived(distribution, path):
            found = f"{path}/{start}"
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


def check_module(candidate: Candidate, package: str, discovery: Discovery) -> Iterator[Finding]:
    """Yields a finding when a candidate's module is not its distribution's own, or stands in the way of another."""
    distribution, top = candidate.distribution, candidate.module.partition(".")[0]
    of = "Python" if top in sys.stdlib_module_names else "the host" if top in {"pluginhost", "pluginapi"} else ""
    of = of or ("the API" if top == package.partition(".")[0] else "")
    if of:
        yield _foreign_module(candidate, "module-shadows", f"which is {of}'s")
        return
    owners = [
        other.distribution
        for other in {id(other.distribution): other for other in discovery.candidates}.values()
        if other.distribution is not distribution and _owns(other.distribution, candidate.module)
    ]
    if owners:
        yield _foreign_module(candidate, "module-foreign", f"which {' and '.join(map(str, owners))} brings too")
        return
    listed = distribution.facts and distribution.facts.files is not None and not distribution.facts.editable
    # What is nowhere fails when it is imported, and says so then.
    if listed and not _owns(distribution, candidate.module) and any(_places(candidate.module, discovery.path)):
        yield _foreign_module(candidate, "module-foreign", "which is not among its files")


def check_native(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding when an extension module was built for other interpreters or platforms alone."""
    from importlib.machinery import EXTENSION_SUFFIXES

    modules: dict[str, list[str]] = {}
    for path, _ in _files(distribution):
        if path.endswith((".so", ".pyd")):
            folder, _, file = path.rpartition("/")
            modules.setdefault(f"{folder}/{file.partition('.')[0]}", []).append(file)
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
    try:
        if not os.path.isfile(archive):
            return set()
        with zipfile.ZipFile(archive) as opened:
            return set(opened.namelist())
    except (OSError, zipfile.BadZipFile):
        return set()


def _archived(distribution: Distribution, path: str) -> str:
    if not os.path.isfile(distribution.origin):
        return "\n".join(_members(f"{distribution.origin}{os.sep}{path}"))
    try:
        with zipfile.ZipFile(distribution.origin) as wheel, wheel.open(path) as inner, zipfile.ZipFile(inner) as opened:
            return "\n".join(opened.namelist())
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""


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
