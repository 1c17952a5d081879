"""One copy of the API in one process: a contract is the host's class, by identity and never by name.

Asserted once a plugin is made, as Go's checked type assertion does after `Lookup`: the object that a factory returned
is asked for its real class, and the host's contract must be among the classes it derives from. `isinstance` is not
asked: a `__class__` property or `ABCMeta.register` make it say yes. What can be told before the import, `copies` tells.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from importlib import import_module

from pluginhost.errors import ConfigurationError, Finding, PluginTypeError
from pluginhost.interrupts import Interrupted

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pluginhost.survey import Candidate

# Past what a metaclass may say.
_MRO = type.__dict__["__mro__"]
_NAME = type.__dict__["__qualname__"]
_MODULE = type.__dict__["__module__"]
_VARS = type.__dict__["__dict__"]


def class_name(obj: object) -> str:
    """Returns the name of an object's real class, cut where it has no end."""
    name: str = _NAME.__get__(type(obj))
    return name[:200]


def real_mro(obj: object) -> tuple[type, ...]:
    """Returns the classes that an object's real class derives from, itself first."""
    mro: tuple[type, ...] = _MRO.__get__(type(obj))
    return mro


def defined_by(cls: type) -> Mapping[str, typing.Any]:
    """Returns what a class itself defines, past what its metaclass may say."""
    names: Mapping[str, typing.Any] = _VARS.__get__(cls)
    return names


def is_a(obj: object, contract: object) -> bool:
    """Returns whether the object's real class derives from this very contract."""
    return any(cls is contract for cls in real_mro(obj))


def own_contracts(plugin: object, contracts: Iterable[type]) -> tuple[type, ...]:
    """Returns which of some contracts a plugin implements, without those from which others of them derive."""
    known = list(contracts)
    own = [cls for cls in real_mro(plugin) if any(cls is contract for contract in known)]
    return tuple(cls for cls in own if not any(cls in other.__mro__[1:] for other in own))


def stated(plugin: object, name: str, default: object = None) -> object:
    """Returns what a plugin's class has under a name, past what it may do when it is asked."""
    classes = map(defined_by, real_mro(plugin))
    return next((names[name] for names in classes if name in names), default)


def contract_class(contract: object) -> type:
    """Returns the class that stands for a contract: of a generic one, that without its arguments.

    Raises:
        PluginTypeError: It is none. Type checkers accept whatever may be an annotation, such as text.
    """
    cls = typing.get_origin(contract) or contract
    if isinstance(cls, type):
        return cls
    message = f"a contract is a class, and {_text_of(contract)} is a {class_name(contract)}"
    raise PluginTypeError(Finding("wrong-type", message, "give the class itself, such as `Greeter`"))


def import_contracts(package: str | None) -> dict[str, type]:
    """Returns the host's contracts by the names that plugins give them; without an API there are none.

    Args:
        package: The import name of the API package.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    if package is None:
        return {}
    try:
        module, base = import_module(package), import_module("pluginapi").Plugin
    except ImportError as exc:
        raise ConfigurationError(
            Finding(
                "api-missing",
                f"the API package {package!r} cannot be imported: {exc}",
                f"install the distribution that provides {package}, or name another with --api",
            )
        ) from exc
    named = {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and base in _MRO.__get__(cls)}
    return {"Plugin": base} | named


def api_version(package: str | None) -> str | None:
    """Returns the version of an API: its `API_VERSION`, else its distribution's; `None` when there is neither."""
    if package is None:
        return None
    if (version := stated_version(package)) is not None:
        return version
    from pluginapi.version import find_api

    from pluginapi import ManifestError

    try:
        return find_api(package)[0].version
    except ManifestError:  # nothing is stamped as that API: no plugin can be held to its version
        return None


def stated_version(package: str) -> str | None:
    """Returns what an imported API says of its version, as `API_VERSION`; `None` when it says nothing."""
    version = getattr(sys.modules.get(package), "API_VERSION", None)
    return version if isinstance(version, str) else None


class HeldApi:
    """The API as this process holds it: its modules, what they name, and what its contracts are made of."""

    __slots__ = ("_classes", "_functions", "_modules", "_packages")

    def __init__(self, contracts: list[type]) -> None:
        self._packages = {module_of(contract).partition(".")[0] for contract in contracts}
        held = {name: module for name, module in list(sys.modules.items()) if self.has(name)}
        self._modules = {name: (module, dict(vars(module))) for name, module in held.items()}
        named = [value for module in held.values() for value in vars(module).values() if isinstance(value, type)]
        classes = {cls for known in (*contracts, *named) for cls in _MRO.__get__(known) if self.has(module_of(cls))}
        self._classes = {cls: _class_state(cls) for cls in classes}
        functions = {
            function
            for names in (*(names for _, names in self._modules.values()), *self._classes.values())
            for value in names.values()
            if inspect.isfunction(function := inspect.unwrap(getattr(value, "__func__", value)))
            and self.has(function.__module__ or "")
        }
        self._functions = {function: _function_state(function) for function in functions}

    def has(self, module: str) -> bool:
        """Returns whether a module's name is one of the API's."""
        return module.partition(".")[0] in self._packages

    def restore(self) -> list[str]:
        """Returns the names of what was replaced since, all of which is put back."""
        replaced = []
        for name, (module, names) in self._modules.items():
            now = vars(module)
            different = [key for key, value in names.items() if now.get(key, names) is not value]
            replaced += [f"{name}.{key}" for key in different]
            now.update({key: names[key] for key in different})
        for cls, names in self._classes.items():
            now = _class_state(cls)
            different = [key for key, value in names.items() if now.get(key, names) is not value]
            added = [key for key in now if key not in names and not key.startswith(_KEPT_BY_READERS)]
            replaced += [f"{cls.__qualname__}.{key}" for key in (*different, *added)]
            for key in different:
                type.__setattr__(cls, key, names[key])
            for key in added:
                type.__delattr__(cls, key)
        for function, state in self._functions.items():
            if any(now is not was for now, was in zip(_function_state(function), state, strict=True)):
                replaced.append(f"{function.__qualname__}()")
                for name, value in zip(_FUNCTION, state, strict=True):
                    setattr(function, name, value)
        return replaced


_FUNCTION = ("__code__", "__defaults__", "__kwdefaults__")
_KEPT_BY_READERS = ("__annot", "__msgspec_cache__")
"""What Python and msgspec note on a class whose annotations they read, for whomever and on whatever thread."""


def _function_state(function: object) -> list[object]:
    return [getattr(function, name) for name in _FUNCTION]


def _class_state(cls: type) -> dict[str, object]:
    names = {"__name__": type.__dict__["__name__"].__get__(cls), "__qualname__": _NAME.__get__(cls)}
    return dict(_VARS.__get__(cls)) | names


def require_held(replaced: list[str], candidate: Candidate) -> None:
    """Returns if a plugin replaced nothing of the API.

    Raises:
        PluginTypeError: It replaced what is named; the host has put it back.
    """
    if not replaced:
        return
    raise PluginTypeError(
        Finding(
            "api-replaced",
            f"{candidate}: importing {candidate.module} replaced {', '.join(sorted(replaced))} of the host; it is put "
            f"back",
            f"tell the author of {candidate.distribution.name}; until then: "
            f"pip uninstall {candidate.distribution.name}",
            candidate.distribution.info,
        )
    )


def require_contracts(
    obj: object, wanted: list[type], candidate: Candidate, known: Iterable[type] = (), *, is_older: bool = False
) -> None:
    """Returns if an object is an instance of the host's contracts and keeps them.

    Args:
        obj: What the factory returned.
        wanted: The contracts that it must implement; the host's own classes.
        known: All of the host's contracts; those that it implements it must keep.
        candidate: The plugin, for the message.
        is_older: Whether it was built for an earlier minor version of the API, and may lack what came since.

    Raises:
        PluginTypeError: It is not, or it comes from another copy of the API, or it does not keep a contract.
    """
    for contract in wanted:
        if not is_a(obj, contract):
            raise wrong_contract(obj, contract, candidate)
    for contract in dict.fromkeys([*wanted, *(cls for cls in known if is_a(obj, cls))]):
        broken = list(_broken(obj, contract, is_older))
        if broken:
            name = contract.__name__
            raise PluginTypeError(
                Finding(
                    "contract-broken",
                    f"{candidate}: its {name} does not keep the contract: {'; '.join(broken)}",
                    f"tell the plugin's author what {name} asks for",
                    _file(type(obj)),
                )
            )


def require_version(obj: object, module: object, version: str | None, candidate: Candidate, stamped: str = "") -> None:
    """Returns if the API version that a plugin's module or the plugin itself states, if it does, is the host's.

    Args:
        obj: What the factory returned.
        module: Its module.
        version: The API's version; `None` when it does not tell.
        candidate: The plugin, for the message.
        stamped: The API version that its wheel was built against; empty when that is not known.

    Raises:
        PluginTypeError: `APIVersion` is another major version, or a later one than the host's or the wheel's.
    """
    if version is None:
        return
    for stated in _stated_versions(obj, module):
        if stamped and not _is_compatible(stated, stamped):
            raise PluginTypeError(
                Finding(
                    "api-version",
                    f"{candidate}: its APIVersion is {_text_of(stated)}, and its wheel was built against {stamped}",
                    f"tell the author of {candidate.distribution.name} to build it anew against the API that it names",
                    candidate.distribution.info,
                )
            )
        if not _is_compatible(stated, version):
            raise PluginTypeError(
                Finding(
                    "api-version",
                    f"{candidate}: its APIVersion is {_text_of(stated)}, and the host's API is {version}",
                    f"install a {candidate.distribution.name} made for the API {version}",
                    candidate.distribution.info,
                )
            )


def is_older(built_against: str, version: str | None) -> bool:
    """Returns whether an API version is an earlier minor one than the host's; not when it is unknown."""
    return bool(built_against and version) and not _is_compatible(version, built_against)


def require_capabilities(module: object, stamped: list[str] | None, candidate: Candidate) -> frozenset[str]:
    """Returns what a plugin says it can do beyond its contracts.

    Args:
        module: The plugin's module, which may say it as `Capabilities`.
        stamped: What its wheel's manifest says; `None` when it has none.
        candidate: The plugin, for the message.

    Raises:
        PluginTypeError: `Capabilities` are no texts, or others than the manifest's.
    """
    names = _own_names(module)
    stated = names["Capabilities"] if type(names) is dict and "Capabilities" in names else stamped or []
    if type(stated) not in (list, tuple, set, frozenset) or any(type(each) is not str for each in stated):
        what, mend = f"are {_text_of(stated)}", 'its author writes a tuple of texts, such as `("batch",)`'
    elif stamped is not None and set(stated) != set(stamped):
        what = f"are {_listed(stated)}, and its manifest says {_listed(stamped)}"
        mend = "its author writes the same ones in the module and in pyproject.toml"
    else:
        return frozenset(stated)
    hint = f"{mend}; tell the author of {candidate.distribution.name}"
    message = f"{candidate}: its Capabilities {what}"
    raise PluginTypeError(Finding("capabilities-wrong", message, hint, candidate.distribution.info))


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts)) or "none"


def _stated_versions(obj: object, module: object) -> typing.Iterator[object]:
    """Yields what a module, an object and its classes have for `APIVersion`, without asking them."""
    for names in (_own_names(module), _own_names(obj), *map(_VARS.__get__, real_mro(obj))):
        if type(names) in (dict, types.MappingProxyType) and "APIVersion" in names:
            yield names["APIVersion"]


def _own_names(obj: object) -> typing.Any:
    try:
        return object.__getattribute__(obj, "__dict__")
    except Interrupted:
        raise
    except BaseException:  # it has none, or its class put a property there
        return None


def _is_compatible(stated: object, version: str) -> bool:
    from packaging.version import Version  # most plugins state none

    try:
        text = ".".join(map(str, stated)) if type(stated) in (tuple, list) else stated  # type: ignore[call-overload]
        asked, own = Version(text if type(text) is str else "").release, Version(version).release
    except Interrupted:
        raise
    except BaseException:  # it is no version, or of what cannot be printed
        return False
    return asked[0] == own[0] and asked[:2] <= own[:2]


def _text_of(value: object) -> str:
    try:
        return str.__str__(repr(value))[:100]
    except BaseException:  # it is the plugin's
        return f"a {_NAME.__get__(type(value))}"


def wrong_contract(obj: object, contract: type, candidate: Candidate) -> PluginTypeError:
    """Returns the error that an object is not an instance of a contract, telling another copy of the API apart."""
    return PluginTypeError(_second_copy(obj, contract, candidate) or _wrong_type(obj, contract, candidate))


def _wrong_type(obj: object, contract: type, candidate: Candidate) -> Finding:
    cls = real_mro(obj)[0]
    return Finding(
        "wrong-type",
        f"{candidate}: {candidate.factory}() returned a {module_of(cls)}.{_NAME.__get__(cls)[:200]}, "
        f"which is not a {contract.__module__}.{contract.__qualname__}",
        f"`class {_NAME.__get__(cls)[:200]}({contract.__name__}):` is what its author writes, or ask for a contract "
        f"that it has",
        _file(cls),
    )


def _second_copy(obj: object, contract: type, candidate: Candidate) -> Finding | None:
    """Returns the finding when a class and module of the same names stand where the host's should."""
    names = {(_own_module(cls), _NAME.__get__(cls)) for cls in _MRO.__get__(contract)} - {("builtins", "object")}
    host = _MRO.__get__(contract)
    for cls in real_mro(obj):
        if not any(cls is own for own in host) and (_own_module(cls), _NAME.__get__(cls)) in names:
            return Finding(
                "second-api-copy",
                f"{candidate}: its {_NAME.__get__(cls)} is {module_of(cls)}.{_NAME.__get__(cls)} from {_file(cls)}, "
                f"and the host's is {contract.__module__}.{contract.__qualname__} from {_file(contract)}: "
                f"two copies of the API",
                f"a plugin carries no copy of the API: its author removes {_file(cls)} and imports the API that is "
                f"installed; until then: pip uninstall {candidate.distribution.name}",
                _file(cls),
            )
    return None


def _broken(obj: object, contract: type, is_older: bool) -> typing.Iterator[str]:
    """Yields what of a contract an object does not keep: attributes and their types, methods and their kind."""
    try:
        hints = typing.get_type_hints(contract)
    except Exception:  # the application's annotations name what is not there at run time: nothing to check against
        hints = {}
    hints.pop("name", None)  # the host gives a plugin its name
    for name, hint in hints.items():
        try:
            value = getattr(obj, name)
        except AttributeError:
            if not is_older:
                yield f"the attribute `{name}` is missing"
            continue
        except Interrupted:
            raise
        except BaseException as exc:
            yield f"reading the attribute `{name}` raised {class_name(exc)}"
            continue
        kind = typing.get_origin(hint) or hint
        if isinstance(kind, type) and kind not in (types.UnionType, typing.Union) and not is_of(value, kind):
            yield f"the attribute `{name}` is a {_NAME.__get__(type(value))}, not a {kind.__name__}"
    for name, declared in inspect.getmembers_static(contract, inspect.isfunction):
        method = next(_VARS.__get__(cls)[name] for cls in real_mro(obj) if name in _VARS.__get__(cls))
        bound = isinstance(method, (staticmethod, classmethod))
        function = method.__func__ if bound else method
        while isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        if isinstance(function, property) or (not callable(function) and not hasattr(type(function), "__get__")):
            yield f"the method `{name}` is a {_NAME.__get__(type(method))}, which cannot be called"
        elif _is_async(function) and not _is_async(declared):
            yield f"the method `{name}` is `async def`, and the contract's is not"
        elif inspect.isfunction(function) and not _takes(
            function, declared, isinstance(method, staticmethod), is_older
        ):
            yield f"the method `{name}` takes other arguments than the contract's"


def is_of(value: object, kind: type) -> bool:
    """Returns whether a value is of a type, as type checkers have it."""
    if is_a(value, kind) or (kind is float and is_a(value, int)):
        return True
    try:
        return type(kind) is not type and isinstance(value, kind)  # an abstract class or a protocol may know others
    except Interrupted:
        raise
    except BaseException:  # a protocol that cannot be asked
        return True


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _takes(function: object, declared: Callable[..., object], is_static: bool, is_older: bool) -> bool:
    """Returns whether a function can be called with the arguments that the contract's takes, by position.

    One that is older than the contract need not take those that have a default, as all have that came since.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [value for value in inspect.signature(declared).parameters.values() if value.kind in kinds]
    if is_older:
        wanted = [value for value in wanted if value.default is value.empty]
    try:
        inspect.signature(function).bind(*wanted[1 if is_static else 0 :])  # type: ignore[arg-type]
    except TypeError:
        return False
    except Exception:  # a signature of the plugin's own making
        return True
    return True


def module_of(cls: type) -> str:
    """Returns the name of the module that a class says it stands in, past what its metaclass may say."""
    try:
        name = _MODULE.__get__(cls)
    except Exception:
        return "?"
    return name if type(name) is str else "?"


def _own_module(cls: type) -> str:
    """Returns the module's last name: a copy lies under another package, or under the same name in another file."""
    return module_of(cls).rpartition(".")[2]


def _file(cls: type) -> str:
    try:
        return str.__str__(str(getattr(sys.modules.get(module_of(cls)), "__file__", None) or module_of(cls)))
    except BaseException:  # a plugin may put what it likes in its module's place
        return module_of(cls)
