"""Whether what is there is still what was installed: the files are there, an editable's project is as it was.

An editable install has its metadata from the day it was installed; its code is that of now.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pluginhost.copies import places
from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final

    from pluginhost.survey import Candidate, Distribution

# Who leaves RECORD out on purpose, so that nobody else uninstalls, says so in INSTALLER: Debian, for one.
_WRITE_RECORD: Final = {"", "pip", "uv"}

# Entry points of these groups stand under a key of their own in [project].
_SCRIPTS: Final = {"console_scripts": "scripts", "gui_scripts": "gui-scripts"}


def check_files(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding when a distribution's files are mostly gone, or nobody can tell which they are."""
    files = distribution.facts.files if distribution.facts else None
    if not distribution.info.lower().endswith(".dist-info") or not os.path.isdir(distribution.info):
        return  # an archive, or what tools wrote before there was a RECORD
    record = f"{distribution.info}{os.sep}RECORD"
    if files is None:
        if _installer(distribution.info) in _WRITE_RECORD:
            yield _incomplete(
                distribution, "has no RECORD: it works, but cannot be uninstalled", record, is_error=False
            )
        return
    if not files:
        yield _incomplete(distribution, "has an empty RECORD", record)
        return
    malformed = next((path for path, digest in files.items() if digest and "=" not in digest), None)
    if malformed is not None:
        yield Finding(
            "metadata-malformed",
            f"{record}: the line of {malformed!r} has the hash {files[malformed]!r}, not `algorithm=digest`",
            f"reinstall it: pip install --force-reinstall {distribution.name}",
            record,
        )
    own = [path for path in files if not path.startswith(("../", "/")) and not path.endswith(".pyc")]
    own = [path for path in own if ".dist-info/" not in path]
    gone = _gone(distribution.origin, own)
    if 2 * len(gone) > len(own):
        what = f"lists {len(own):,} files, of which {len(gone):,} are gone, such as {gone[0]}"
        yield _incomplete(distribution, what, record)


def check_module(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding when the file of a candidate's module was installed and is gone."""
    distribution, path = candidate.distribution, candidate.module.replace(".", "/")
    listed = distribution.facts.files if distribution.facts else None
    files = [file for file in (f"{path}.py", f"{path}/__init__.py") if file in (listed or {})]
    if files and os.path.isdir(distribution.origin) and _gone(distribution.origin, files) == files:
        what = f"registers {candidate.name!a} in {candidate.module!a}, whose file {files[0]} is gone"
        yield _incomplete(distribution, what, f"{distribution.origin}/{files[0]}")


def check_editable(
    distribution: Distribution, group: str, registered: Mapping[str, str], api: Distribution | None, path: list[str]
) -> Iterator[Finding]:
    """Yields a finding when an editable install's project says otherwise than was installed.

    Args:
        distribution: One that is installed.
        group: The entry-point group.
        registered: What it registers there: values by names.
        api: The API distribution; `None` when there is none.
        path: The search path.
    """
    folder = distribution.facts.editable if distribution.facts else ""
    if not folder:
        return
    if not os.path.isdir(folder):
        yield Finding(
            "distribution-incomplete",
            f"{distribution} is an editable install of {folder}, which is not there",
            f"install it from where the project is now: pip install -e PATH; or pip uninstall {distribution.name}",
            folder,
        )
        return
    differences = list(_differences(distribution, group, registered, api, Path(folder)))
    differences += _restructured(distribution, path)
    if differences:
        yield Finding(
            "manifest-stale",
            f"{distribution} is an editable install of {folder}, and what was installed is not what is there now: "
            f"{'; '.join(differences)}",
            f"install it again: pip install -e {folder}",
            f"{folder}/pyproject.toml",
        )


def _differences(
    distribution: Distribution, group: str, registered: Mapping[str, str], api: Distribution | None, folder: Path
) -> Iterator[str]:
    """Yields what a project's pyproject.toml says otherwise than was installed."""
    try:
        content = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        project: dict[str, Any] = content["project"]
        tool: dict[str, Any] = content.get("tool", {})
        if not _is_dynamic(project, group) and "plugins" not in tool.get("poetry", {}):
            yield from _moved(registered, _entry_points(project, group))
        is_ours = bool(registered) or (api is not None and api.info == distribution.info)
        if is_ours and api and "dependencies" in project:
            yield from _repinned(distribution, project["dependencies"], api)
        if is_ours and "version" in project and Version(project["version"]) != Version(distribution.version):
            yield f"the version is {project['version']}, {distribution.version} is installed"
        yield from _restamped(distribution, group, tool.get("pluginapi", {}).get("plugins", {}))
    except (OSError, KeyError):
        return  # a project of another kind: there is nothing to compare
    except (ValueError, TypeError, AttributeError) as exc:
        yield f"its pyproject.toml cannot be read: {exc}"


def _moved(registered: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*registered, *wanted}):
        now, then = wanted.get(name), registered.get(name)
        if now is None:
            yield f"the entry point {name!a} is no longer there"
        elif then is None:
            yield f"the entry point {name!a} is new"
        elif "".join(now.split()) != "".join(then.split()):
            yield f"the entry point {name!a} is {now!a}, {then!a} is installed"


def _repinned(distribution: Distribution, dependencies: list[str], api: Distribution) -> Iterator[str]:
    now, then = _pins(dependencies, api), _pins(distribution.facts.requires if distribution.facts else (), api)
    if now != then:
        yield f"the pin is {', '.join(sorted(now)) or 'none'}, {', '.join(sorted(then)) or 'none'} is installed"


def _restamped(distribution: Distribution, group: str, plugins: Mapping[str, Any]) -> Iterator[str]:
    manifest = distribution.facts and distribution.facts.manifest
    if not manifest or manifest.malformed:
        return  # built without the hook, or told of elsewhere
    for (of, name), (_, contracts, capabilities, requires, program) in manifest.plugins.items():
        if of != group:
            continue
        now = plugins.get(group, {}).get(name, {})
        if (now.get("contracts"), now.get("capabilities", [])) != (contracts, capabilities):
            yield f"the contracts or capabilities of {name!a} are others"
        if {key: texts for key, texts in now.get("requires", {}).items() if texts} != requires:
            yield f"what {name!a} requires is something else"
        if now.get("program", "") != program:
            yield f"the program of {name!a} is another"


def _restructured(distribution: Distribution, path: Iterable[str]) -> Iterator[str]:
    """Yields a difference when the API package that an editable install provides has another structure now."""
    manifest = distribution.facts and distribution.facts.manifest
    if not manifest or not manifest.provides:
        return
    place = next((place for place in places(manifest.provides, path) if os.path.isfile(place)), "")
    if not place:
        return  # its finder knows where it is, the search path does not
    from pluginapi import _structure  # only an editable API is read anew

    try:
        fingerprint = _structure.fingerprint(_structure.parse(Path(place).parent))
    except (OSError, ValueError, SyntaxError) as exc:
        yield f"the package {manifest.provides} cannot be read: {exc}"
        return
    if fingerprint != manifest.provides_fingerprint:
        yield f"the structure of {manifest.provides} is {fingerprint}, {manifest.provides_fingerprint} is stamped"


def _entry_points(project: Mapping[str, Any], group: str) -> dict[str, str]:
    found = project.get(_SCRIPTS[group], {}) if group in _SCRIPTS else project.get("entry-points", {}).get(group, {})
    return {str(name): str(value) for name, value in found.items()}


def _is_dynamic(project: Mapping[str, Any], group: str) -> bool:
    return _SCRIPTS.get(group, "entry-points") in project.get("dynamic", ())


def _pins(lines: Iterable[str], api: Distribution) -> set[str]:
    """Returns the requirements of the API among some, as `packaging` writes them."""
    found = set()
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        is_optional = "extra ==" in str(requirement.marker)  # in METADATA, extras stand among the others
        if canonicalize_name(requirement.name) == canonicalize_name(api.name) and not is_optional:
            found.add(f"{api.name}{requirement.specifier}")
    return found


def _gone(origin: str, files: Iterable[str]) -> list[str]:
    """Returns which files are not there; each folder is listed once, since there are thousands of files."""
    listed: dict[str, set[str]] = {}
    gone = []
    for path in files:
        folder, _, name = path.rpartition("/")
        if folder not in listed:
            try:
                listed[folder] = set(os.listdir(f"{origin}{os.sep}{folder}"))
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            gone.append(path)
    return gone


def _installer(info: str) -> str:
    try:
        with open(f"{info}{os.sep}INSTALLER", encoding="utf-8", errors="replace") as file:
            return file.read(100).strip()
    except OSError:
        return ""


def _incomplete(distribution: Distribution, what: str, path: str, *, is_error: bool = True) -> Finding:
    return Finding(
        "distribution-incomplete",
        f"{distribution} {what}",
        f"reinstall it: pip install --force-reinstall --no-deps {distribution.name}=={distribution.version}; if it was "
        f"meant to go, remove {distribution.info}",
        path,
        "error" if is_error else "warning",
    )
