"""What a plugin's source says that it does when it is imported, read from the syntax tree and not run."""

from __future__ import annotations

import ast
import os
import re
import sys
from typing import TYPE_CHECKING

from pluginhost.copies import places
from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluginhost.survey import Distribution

_OURS = {"pluginhost", "pluginapi"}
_OF_INTEREST = re.compile(rb"\bpluginhost\b|\.register\b")


def check_sources(distribution: Distribution, modules: list[str], path: list[str]) -> Iterator[Finding]:
    """Yields a finding for each file of a plugin's distribution that imports the host or registers a class itself.

    Args:
        distribution: The plugin's.
        modules: The modules of its entry points, which tell where an editable install's source is.
        path: The search path.
    """
    if distribution.name in _OURS:
        return
    files = list(_files(distribution, modules, path))
    own = set(map(_top, modules))
    own |= {os.path.relpath(file, distribution.origin).split(os.sep)[0].removesuffix(".py") for file in files}
    for file in files:
        for line, what, mend in _habits(file, own):
            yield Finding(
                "import-habit",
                f"{distribution} {what}: {file}, line {line}",
                f"tell the author of {distribution.name}: {mend}",
                file,
            )


def _habits(file: str, own: set[str]) -> Iterator[tuple[int, str, str]]:
    """Yields the line, what is done there, and what the author does instead."""
    if not os.path.isfile(file):
        return  # opening a FIFO would block
    try:
        with open(file, "rb") as opened:
            source = opened.read()
        # Parsing is slow, and nearly no file is of interest.
        if not _OF_INTEREST.search(source):
            return
        tree = ast.parse(source, file)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return  # that it cannot be imported shows when it is
    for node in _statements(tree.body, with_functions=True):
        if _is_host_import(node):
            yield node.lineno, "imports pluginhost", "a plugin knows its API alone; the host hands it what it needs"
            break
    at_import = list(_statements(tree.body, with_functions=False))
    made = {node.name for node in at_import if isinstance(node, ast.ClassDef)} | {"New"}
    others = _imported_elsewhere(at_import, own)
    for statement in at_import:
        if _registers(statement, made, others):
            mend = "the entry point registers it; a second way hides which one counts"
            yield statement.lineno, "registers itself with another package when it is imported", mend
            break


def _statements(body: list[ast.stmt], *, with_functions: bool) -> Iterator[ast.stmt]:
    """Yields statements and those within them, but not what only a type checker sees.

    Args:
        body: Some statements.
        with_functions: Whether those within functions and classes count too, which do not run at import.
    """
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not with_functions:
            continue
        inner = [] if _is_typing_only(node) else [node]
        for part in [*inner, *getattr(node, "handlers", ()), *getattr(node, "cases", ())]:
            yield from _statements(getattr(part, "body", []), with_functions=with_functions)
        for field in ("orelse", "finalbody"):
            yield from _statements(getattr(node, field, []), with_functions=with_functions)


def _is_typing_only(node: ast.stmt) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
    return False


def _is_host_import(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=names):
            return any(_top(alias.name) == "pluginhost" for alias in names)
        case ast.ImportFrom(module=str(module), level=0):
            return _top(module) == "pluginhost"
    return False


def _imported_elsewhere(statements: list[ast.stmt], own: set[str]) -> set[str]:
    """Returns the names that statements import from other packages than Python's and its own.

    Python's abstract base classes have a `register` too, which is another thing; a package's own registry is its own.
    """
    near = own | set(sys.stdlib_module_names)
    names: set[str] = set()
    for node in statements:
        match node:
            case ast.Import(names=aliases):
                names |= {_bound(alias) for alias in aliases if _top(alias.name) not in near}
            case ast.ImportFrom(names=aliases, module=str(module), level=0) if _top(module) not in near:
                names |= {_bound(alias) for alias in aliases}
    return names


def _registers(node: ast.stmt, own: set[str], others: set[str]) -> bool:
    """Returns whether a statement registers one of a module's own classes, or its factory, with one of these others."""
    match node:
        case ast.ClassDef(decorator_list=decorators):
            return any(_is_register(getattr(each, "func", each), others) for each in decorators)
        case ast.Expr(value=ast.Call(func=func, args=arguments, keywords=keywords)) if _is_register(func, others):
            given = [*arguments, *(keyword.value for keyword in keywords)]
            made = (each.func if isinstance(each, ast.Call) else each for each in given)
            return any(isinstance(each, ast.Name) and each.id in own for each in made)
    return False


def _is_register(node: ast.expr, others: set[str]) -> bool:
    if not (isinstance(node, ast.Attribute) and node.attr == "register"):
        return False
    root: ast.expr = node
    while isinstance(root, ast.Attribute | ast.Call):
        root = root.value if isinstance(root, ast.Attribute) else root.func
    return isinstance(root, ast.Name) and root.id in others


def _bound(alias: ast.alias) -> str:
    return alias.asname or _top(alias.name)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _files(distribution: Distribution, modules: list[str], path: list[str]) -> Iterator[str]:
    """Yields the paths of a distribution's source files."""
    if distribution.facts and distribution.facts.editable:
        yield from dict.fromkeys(place for module in modules for place in places(module, path))
        return
    for file in (distribution.facts.files if distribution.facts else None) or ():
        if file.endswith(".py") and not file.startswith(("../", "/")):
            yield f"{distribution.origin}{os.sep}{file}"
