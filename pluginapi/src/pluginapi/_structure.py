"""The structure of an API package, read from its source, and the hash of it.

Read from the syntax tree and never by import, so that every Python gives the same answer: nodes are written out by
their names and fields, and whatever is empty is left out, since later Pythons add empty fields.
"""

from __future__ import annotations

import ast
import hashlib
import json
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Shape: TypeAlias = "str | list[Shape]"

_NOT_SHAPE = {"ctx", "kind", "type_comment"}


def parse(package: Path) -> dict[str, ast.Module]:
    """Returns the public modules of a package, by their dotted names within it."""
    modules = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).with_suffix("").parts
        if not any(_is_private(part) for part in name):
            modules[".".join(name)] = ast.parse(file.read_bytes(), str(file))
    return modules


def fingerprint(modules: dict[str, ast.Module]) -> str:
    """Returns the hash of what other code can rely on in these modules.

    Names, bases, signatures, annotations, fields and defaults count; docstrings, comments, bodies of functions, private
    functions and fields, and the values of module constants do not.
    """
    shape = [[name, *_body(module.body, in_class=False)] for name, module in sorted(modules.items())]
    return "sha256:" + hashlib.sha256(json.dumps(shape).encode()).hexdigest()


def contracts(modules: dict[str, ast.Module], known: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of the contracts that these modules define or hand on, sorted.

    Args:
        modules: A package's modules.
        known: The names of the contracts of the APIs that the package is built on.
    """
    known = {"Plugin", *known}
    found: set[str] = set()
    bases: dict[str, set[str]] = {}
    for node in (node for module in modules.values() for node in _statements(module.body)):
        if isinstance(node, ast.ClassDef):
            bases[node.name] = {name for base in node.bases if (name := _last_name(base))}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names if alias.name in known}
    while True:
        more = {name for name, of in bases.items() if of & (known | found)} - found
        if not more:
            return tuple(sorted(name for name in found if not _is_private(name) and name != "Plugin"))
        found |= more


def defined_names(module: ast.Module) -> set[str]:
    """Returns the names that a module's top level binds."""
    names: set[str] = set()
    for node in _statements(module.body):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
    return names


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements of a body, with those under `if` and `try` in their place."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse, *node.finalbody])
        else:
            yield node


def _body(body: list[ast.stmt], *, in_class: bool) -> list[Shape]:
    return [shape for node in _statements(body) if (shape := _statement(node, in_class=in_class))]


def _statement(node: ast.stmt, *, in_class: bool) -> list[Shape]:
    match node:
        case ast.ClassDef(name=name):  # private ones too: a contract may inherit from one
            outside = [_tree(part) for part in (*node.decorator_list, *node.bases, *node.keywords)]
            return ["class", name, outside, *_body(node.body, in_class=True)]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not _is_private(name):
            decorators = [_tree(decorator) for decorator in node.decorator_list]
            returns = _tree(node.returns) if node.returns else "none"
            return [type(node).__name__, name, decorators, _tree(node.args), returns]
        case ast.AnnAssign(target=ast.Name(id=name)) if not _is_private(name):
            default = _tree(node.value) if node.value and in_class else "none"
            return ["field", name, _tree(node.annotation), default]
        case ast.Assign(targets=[ast.Name(id=name)]) if name == "__all__" or not _is_private(name):
            # A module's constants (its version, say) are values, not shape; an alias or a class's member is shape.
            is_value = isinstance(node.value, ast.Constant) and not in_class
            return ["name", name, "value" if is_value else _tree(node.value)]
        case _ if type(node).__name__ == "TypeAlias":  # Python 3.12's `type X = …`
            return [_tree(node)]
    return []


def _tree(node: ast.AST) -> Shape:
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    shape: list[Shape] = [type(node).__name__]
    for field, value in ast.iter_fields(node):
        if value is None or value == [] or field in _NOT_SHAPE:
            continue
        values = value if isinstance(value, list) else [value]
        shape.append([field, *(_tree(item) if isinstance(item, ast.AST) else repr(item) for item in values)])
    return shape


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):  # Contract[T]
            return _last_name(value)
    return None


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__") and name != "__slots__")
