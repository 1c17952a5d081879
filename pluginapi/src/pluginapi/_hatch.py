"""The hatchling build hook that stamps a wheel with its manifest; imported by hatchling alone.

A plugin's or an API's pyproject.toml turns it on with an empty table,
`[tool.hatch.build.targets.wheel.hooks.pluginapi]`, and `pluginapi` among its `build-system.requires`, so that the stamp
records the API that the wheel was really built against.
"""

from __future__ import annotations

import ast
import difflib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.plugin import hookimpl
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pluginapi import _structure
from pluginapi.errors import ManifestError
from pluginapi.manifest import BuiltAgainst, Manifest, PluginEntry, Provides, Requires, is_program
from pluginapi.version import find_api

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOST_GROUP = "pluginhost.plugins"
_SETTINGS = {"api", "provides", "plugins"}
_PLUGIN_SETTINGS = {"contracts", "capabilities", "requires", "program"}
_REQUIRES = set(Requires.__slots__)


class ManifestHook(BuildHookInterface[BuilderConfig]):
    """Stamps `extra_metadata/pluginapi.json` into every wheel, standard and editable."""

    PLUGIN_NAME = "pluginapi"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Writes the manifest beside the build and tells hatchling to put it into the wheel.

        Raises:
            ManifestError: The project's settings, pin, entry points and modules do not agree.
        """
        with self.build_config.set_build_data(build_data):  # with what other hooks have built so far
            files = {
                Path(file.distribution_path).as_posix(): Path(file.path)
                for file in self.build_config.builder.recurse_included_files()
            }
        manifest = _manifest(self.metadata.config, self.metadata.core, files)
        if any("/" in (plugin.program or "") for plugin in manifest.plugins):
            self._bind_to_platform(build_data)
        self._folder = Path(tempfile.mkdtemp(prefix="pluginapi-"))
        target = self._folder / Path(Manifest.FILE).name
        target.write_text(manifest.to_json(), "utf-8", newline="\n")
        build_data["extra_metadata"][str(target)] = target.name

    def _bind_to_platform(self, build_data: dict[str, Any]) -> None:
        """Tells hatchling that the wheel is for any Python 3 on this platform, unless another hook told it a tag."""
        if "tag" in build_data or build_data["infer_tag"]:
            return
        builder: Any = self.build_config.builder
        platform = builder.get_best_matching_tag().rpartition("-")[2]  # macOS has its own ideas, which hatchling knows
        build_data |= {"pure_python": False, "tag": f"py3-none-{platform}"}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what `initialize` wrote."""
        shutil.rmtree(self._folder, ignore_errors=True)


@hookimpl
def hatch_register_build_hook() -> type[ManifestHook]:
    """Hands the hook to hatchling."""
    return ManifestHook


def _manifest(pyproject: Mapping[str, Any], project: Any, files: Mapping[str, Path]) -> Manifest:
    settings = pyproject.get("tool", {}).get("pluginapi", {})
    _require_known(settings, _SETTINGS, "[tool.pluginapi]")
    provides = _provided(settings["provides"], files) if "provides" in settings else None
    plugins = _plugins(settings.get("plugins", {}), project.entry_points)
    if not plugins:
        if provides is None:
            raise ManifestError(
                f'the project has no plugin: write `[project.entry-points."{HOST_GROUP}"]` with a line such as '
                f'`name = "module:New"` into pyproject.toml'
            )
        return Manifest(provides=provides)
    package = settings.get("api", "pluginapi")
    distribution, api = find_api(package)
    _require_pin(distribution.metadata["Name"], distribution.version, project.dependencies)
    for plugin in plugins:
        _require_contracts(plugin, package, api)
        if plugin.program:
            _require_executable(plugin, files)
        else:
            _require_factory(plugin, files)
    against = BuiltAgainst(package, distribution.metadata["Name"], distribution.version, api.fingerprint)
    return Manifest(api=against, provides=provides, plugins=plugins)


def _provided(package: str, files: Mapping[str, Path]) -> Provides:
    start = files.get(f"{package.replace('.', '/')}/__init__.py")
    if start is None:
        raise ManifestError(
            f"`[tool.pluginapi] provides` names {package!r}, but the wheel holds no {package}/__init__.py; add it to "
            f"`[tool.hatch.build.targets.wheel] packages`"
        )
    modules = _structure.parse(start.parent)
    known = () if package == "pluginapi" else find_api("pluginapi")[1].contracts
    return Provides(package, _structure.fingerprint(modules), _structure.contracts(modules, known))


def _plugins(
    settings: Mapping[str, Mapping[str, Mapping[str, Any]]], entry_points: Mapping[str, Mapping[str, str]]
) -> tuple[PluginEntry, ...]:
    for group, names in settings.items():
        for name, plugin in names.items():
            table = f'[tool.pluginapi.plugins."{group}".{name}]'
            _require_known(plugin, _PLUGIN_SETTINGS, table)
            if name not in entry_points.get(group, {}):
                raise ManifestError(
                    f'{table} has no entry point: write `[project.entry-points."{group}"]` with '
                    f'`{name} = "module:New"` into pyproject.toml'
                )
            _require_texts(plugin, ("contracts", "capabilities"), table)
            _require_requires(plugin.get("requires", {}), name, table)
            _require_program(plugin, table)
    return tuple(
        PluginEntry(
            group=group,
            name=name,
            entry_point=value,
            contracts=tuple(plugin["contracts"]) if "contracts" in plugin else None,
            capabilities=tuple(plugin.get("capabilities", ())),
            requires=Requires(**{key: tuple(texts) for key, texts in plugin.get("requires", {}).items()}),
            program=plugin.get("program"),
        )
        for group in sorted({HOST_GROUP, *settings} & set(entry_points))
        for name, value in sorted(entry_points[group].items())
        for plugin in [settings.get(group, {}).get(name, {})]
    )


def _require_known(settings: Mapping[str, object], known: set[str], table: str) -> None:
    for key in settings.keys() - known:
        raise ManifestError(
            f"{table} does not know {key!r}{_near(key, known)}; its keys are {', '.join(sorted(known))}"
        )


def _require_texts(settings: Mapping[str, object], keys: Iterable[str], table: str) -> None:
    for key in keys:
        value = settings.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ManifestError(
                f'{table} has {value!r} as {key}, which is not a list of text: write `{key} = ["name"]`'
            )


def _require_requires(requires: object, name: str, table: str) -> None:
    if not isinstance(requires, dict):
        raise ManifestError(
            f'{table} has {requires!r} as requires, which is not a table: write `requires = {{ plugins = ["name"] }}`'
        )
    table = f"{table.removesuffix(']')}.requires]"
    _require_known(requires, _REQUIRES, table)
    _require_texts(requires, sorted(_REQUIRES), table)
    if name in requires.get("plugins", ()):
        raise ManifestError(f"{table} names {name!r}, the plugin itself: take it out of plugins")


def _require_program(settings: Mapping[str, object], table: str) -> None:
    program = settings.get("program")
    if program is None:
        return
    if not isinstance(program, str) or not is_program(program):
        raise ManifestError(
            f"{table} has {program!r} as program, which is neither a file of the wheel nor a name: write "
            f'`program = "package/name"`, from the wheel\'s root, with forward slashes'
        )
    if not settings.get("contracts"):
        raise ManifestError(
            f"{table} has a program and no contracts, and nothing else says what a program serves: write "
            f'`contracts = ["Greeter"]` with those that it does'
        )


def _require_pin(api: str, version: str, dependencies: Iterable[str]) -> None:
    pins = [
        requirement
        for requirement in map(Requirement, dependencies)
        if canonicalize_name(requirement.name) == canonicalize_name(api) and requirement.specifier
    ]
    pin = f'`dependencies = ["{api}~={".".join(version.split(".")[:2])}"]`'
    if not pins:
        raise ManifestError(f"the project is not pinned to {api}: write {pin} under [project] in pyproject.toml")
    for requirement in pins:
        if not requirement.specifier.contains(version, prereleases=True):
            raise ManifestError(
                f"the project is pinned to {requirement}, but is built against {api} {version}: write {pin} under "
                f"[project], or name the {api} that you mean in `build-system.requires`"
            )


def _require_contracts(plugin: PluginEntry, package: str, api: Provides) -> None:
    for contract in (*(plugin.contracts or ()), *plugin.requires.contracts):
        if contract not in api.contracts:
            raise ManifestError(
                f'[tool.pluginapi.plugins."{plugin.group}".{plugin.name}] names the contract {contract!r}, which '
                f"{package} does not have{_near(contract, api.contracts)}; it has {', '.join(api.contracts)}"
            )


def _require_factory(plugin: PluginEntry, files: Mapping[str, Path]) -> None:
    where = f'[project.entry-points."{plugin.group}"] {plugin.name} = "{plugin.entry_point}"'
    module, _, factory = plugin.entry_point.partition("[")[0].strip().partition(":")
    module, factory = module.strip(), factory.strip() or "New"
    path = module.replace(".", "/")
    source = files.get(f"{path}.py") or files.get(f"{path}/__init__.py")
    if source is None:
        if any(file.startswith(f"{path}.") for file in files):
            return  # an extension module; its names show when it is loaded
        modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files}
        raise ManifestError(
            f"{where}: the wheel holds no module {module!r}{_near(module, modules)}; correct the entry point, or add "
            f"the module to `[tool.hatch.build.targets.wheel]`"
        )
    names = _structure.defined_names(ast.parse(source.read_bytes(), str(source)))
    if factory.partition(".")[0] not in names:
        raise ManifestError(
            f"{where}: {source.name} defines no {factory!r}{_near(factory, names)}; write `def {factory}():` there, "
            f"returning the plugin"
        )


def _require_executable(plugin: PluginEntry, files: Mapping[str, Path]) -> None:
    program = plugin.program or ""
    if "/" not in program:
        return  # it is looked up where the plugin is started
    where = f'[tool.pluginapi.plugins."{plugin.group}".{plugin.name}] program = "{program}"'
    source = files.get(program)
    if source is None:
        raise ManifestError(
            f"{where}: the wheel holds no such file{_near(program, files)}; build it first, before this hook runs, and "
            f"name it in `[tool.hatch.build.targets.wheel] artifacts` if git ignores it"
        )
    if not os.access(source, os.X_OK):
        raise ManifestError(f"{where}: the file is not executable; next: chmod +x {source}")


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
