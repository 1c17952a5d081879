"""A plugin's modules imported anew, beside those that serve.

Never with `importlib.reload`, which puts new globals under old code that runs. The old modules are taken out of
`sys.modules` and go on to work for whoever has them; the next import makes new ones. These are compiled from what their
files hold, and not taken from `__pycache__`: a file that was changed within a second and kept its size has stale
bytecode there.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import ExtensionFileLoader, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING

from pluginhost import index, places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType


class Renewal:
    """The modules of some packages, taken out of `sys.modules` until it is decided which of the two serve.

    Make and end it while nothing else is imported for plugins: under `loading.SERIAL`.

    Args:
        packages: The names of packages and of modules that are none; each with the folder from which it is imported
            from now on, or nothing for wherever it is found.

    Attributes:
        old: The modules that were taken out, by name.
    """

    def __init__(self, packages: Mapping[str, str]) -> None:
        self.old = _of(packages)
        self._bound = _taken(self.old)
        self._packages = packages
        self._path = list(sys.path)
        self._finder = _finder()
        self._folders = dict(self._finder.folders)
        self._finder.folders |= packages
        importlib.invalidate_caches()

    def undo(self) -> None:
        """Puts the old modules back, in the place of what was imported since."""
        _taken(_of(self._packages))
        sys.modules.update(self.old)
        for parent, names in self._bound:
            parent.update(names)
        self._finder.folders = self._folders
        unpacked = f"{index.store_folder()}{os.sep}"
        since = [entry for entry in sys.path if entry not in self._path and not str(entry).startswith(unpacked)]
        sys.path[:] = [*self._path, *since]
        importlib.invalidate_caches()


def by_content(package: str) -> None:
    """Has a package imported from what its files hold, and not from `__pycache__`, from now on."""
    _finder().folders[package] = ""


def release(package: str) -> None:
    """Has a package that was reloaded imported from wherever it is found, and not from a copy any more."""
    for finder in sys.meta_path:
        if type(finder) is _ByContent:
            finder.folders |= {each: "" for each in finder.folders if places.is_within(each, package)}


def compiled(packages: Collection[str]) -> list[str]:
    """Returns those of the imported modules of some packages that are no Python: a process loads them once."""
    specs = {name: _names(module).get("__spec__") for name, module in _of(packages).items()}
    return [name for name, spec in specs.items() if type(getattr(spec, "loader", None)) is ExtensionFileLoader]


def _of(packages: Iterable[str]) -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in list(sys.modules.items())
        if type(name) is str and any(places.is_within(name, package) for package in packages)
    }


def _names(module: object) -> dict[str, object]:
    """Returns the names that stand in a module; a plugin may have put anything in its place."""
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def _taken(modules: Mapping[str, ModuleType]) -> list[tuple[dict[str, object], dict[str, object]]]:
    """Takes modules away, from `sys.modules` and from parents that stay; returns the names of these, and what goes.

    Parents that go as well keep theirs: their code may be running.
    """
    for name in modules:
        del sys.modules[name]
    bound = []
    for name in modules:
        parent, _, child = name.rpartition(".")
        names = _names(sys.modules.get(parent))
        if child in names:
            bound.append((names, {child: names.pop(child)}))
    return bound


class _ByContent:
    """The finder of what was reloaded in this process.

    It stays: what a plugin imports only when it is called is its newest, too.

    Attributes:
        folders: By package, the folder from which it is imported; nothing for wherever the other finders find it.
    """

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = next((each for each in self.folders if places.is_within(name, each)), None)
        if package is None:
            return None
        spec = self._found(name, path, target, self.folders[package] if name == package else "")
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec

    def _found(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None, folder: str
    ) -> ModuleSpec | None:
        if folder:
            spec = PathFinder.find_spec(name, [os.path.join(folder, *name.split(".")[:-1])], target)
            if spec is None:  # and none of another version
                raise ModuleNotFoundError(f"No module named {name!r} in {folder}", name=name)
            return spec
        others = (finder for finder in list(sys.meta_path) if finder is not self and hasattr(finder, "find_spec"))
        return next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)


class _Loader(SourceFileLoader):
    """Compiles a module from its source, whatever bytecode there is, and leaves none."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _finder() -> _ByContent:
    """Returns the one finder of its kind, which stands before those that use `__pycache__`."""
    found = next((each for each in sys.meta_path if type(each) is _ByContent), None)
    if found is None:
        found = _ByContent()
        sys.meta_path.insert(0, found)
    return found
