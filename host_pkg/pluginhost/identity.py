"""One copy of the API in one process: a contract is the host's class, by identity and never by name.

Asserted once a plugin is made, as Go's checked type assertion does after `Lookup`: the object that a factory returned
is asked for its real class, and the host's contract must be among the classes it derives from. `isinstance` is not
asked: a `__class__` property or `ABCMeta.register` make it say yes. What can be told before the import, `copies` tells.
"""

from __future__ import annotations

import inspect
import sys
import typing
from importlib import import_module

from pluginhost.errors import ConfigurationError, Finding, PluginTypeError

if typing.TYPE_CHECKING:
    from types import ModuleType

    from pluginhost.survey import Candidate

_MRO = type.__dict__["__mro__"]


def real_mro(obj: object) -> tuple[type, ...]:
    """Returns the classes that an object's real class derives from, itself first."""
    mro: tuple[type, ...] = _MRO.__get__(type(obj))
    return mro


def is_a(obj: object, contract: object) -> bool:
    """Returns whether the object's real class derives from this very contract."""
    return any(cls is contract for cls in real_mro(obj))


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
    named = {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and issubclass(cls, base)}
    return {"Plugin": base} | named


def held_modules(contracts: list[type]) -> dict[str, ModuleType]:
    """Returns the modules of the API as this process holds them, by name."""
    packages = {contract.__module__.partition(".")[0] for contract in contracts}
    return {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages}


def require_held(held: dict[str, ModuleType], candidate: Candidate) -> None:
    """Returns if the process still holds the same modules of the API; puts them back if not.

    Raises:
        PluginTypeError: A plugin replaced one of them.
    """
    replaced = sorted(name for name, module in held.items() if sys.modules.get(name) is not module)
    if not replaced:
        return
    found = sys.modules.get(replaced[0])
    sys.modules.update(held)
    raise PluginTypeError(
        Finding(
            "api-replaced",
            f"{candidate}: importing {candidate.module} replaced {', '.join(replaced)} of the host by "
            f"{getattr(found, '__file__', None) or found!r}; it is put back",
            f"tell the author of {candidate.distribution.name}; until then: "
            f"pip uninstall {candidate.distribution.name}",
            candidate.distribution.info,
        )
    )


def require_contracts(obj: object, wanted: list[type], candidate: Candidate) -> None:
    """Returns if an object is an instance of the host's contracts and keeps them.

    Args:
        obj: What the factory returned.
        wanted: The contracts; the host's own classes.
        candidate: The plugin, for the message.

    Raises:
        PluginTypeError: It is not, or it comes from another copy of the API, or it does not keep a contract.
    """
    for contract in wanted:
        if not is_a(obj, contract):
            raise PluginTypeError(_second_copy(obj, contract, candidate) or _wrong_type(obj, contract, candidate))
        broken = list(_broken(obj, contract))
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


def wrong_contract(obj: object, contract: type, candidate: Candidate) -> PluginTypeError:
    """Returns the error of a caller who asked a sound plugin for a contract that it does not implement."""
    return PluginTypeError(_second_copy(obj, contract, candidate) or _wrong_type(obj, contract, candidate))


def _wrong_type(obj: object, contract: type, candidate: Candidate) -> Finding:
    cls = real_mro(obj)[0]
    return Finding(
        "wrong-type",
        f"{candidate}: {candidate.factory}() returned a {cls.__module__}.{cls.__qualname__}, "
        f"which is not a {contract.__module__}.{contract.__qualname__}",
        f"`class {cls.__name__}({contract.__name__}):` is what its author writes, or ask for a contract that it has",
        _file(cls),
    )


def _second_copy(obj: object, contract: type, candidate: Candidate) -> Finding | None:
    """Returns the finding when a class and module of the same names stand where the host's should."""
    names = {(_own_module(cls), cls.__qualname__) for cls in _MRO.__get__(contract)} - {("builtins", "object")}
    host = set(_MRO.__get__(contract))
    for cls in real_mro(obj):
        if cls not in host and (_own_module(cls), cls.__qualname__) in names:
            return Finding(
                "second-api-copy",
                f"{candidate}: its {cls.__qualname__} is {cls.__module__}.{cls.__qualname__} from {_file(cls)}, and "
                f"the host's is {contract.__module__}.{contract.__qualname__} from {_file(contract)}: "
                f"two copies of the API",
                f"a plugin carries no copy of the API: its author removes {_file(cls)} and imports the API that is "
                f"installed; until then: pip uninstall {candidate.distribution.name}",
                _file(cls),
            )
    return None


def _broken(obj: object, contract: type) -> typing.Iterator[str]:
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
            yield f"the attribute `{name}` is missing"
            continue
        except Exception as exc:
            yield f"reading the attribute `{name}` raised {type(exc).__name__}"
            continue
        kinds = (int, float) if hint is float else hint  # as type checkers have it
        if isinstance(hint, type) and not isinstance(value, kinds):
            yield f"the attribute `{name}` is a {type(value).__name__}, not a {hint.__name__}"
    for name, declared in inspect.getmembers_static(contract, inspect.isfunction):
        method = inspect.getattr_static(type(obj), name)
        if inspect.iscoroutinefunction(method) and not inspect.iscoroutinefunction(declared):
            yield f"the method `{name}` is `async def`, and the contract's is not"


def _own_module(cls: type) -> str:
    """Returns the module's last name: a copy lies under another package, or under the same name in another file."""
    return cls.__module__.rpartition(".")[2]


def _file(cls: type) -> str:
    return str(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)
