"""Python for the editor: classes and functions. It does not format: that capability is not among its own."""

import ast
import re
import warnings

from editor_api import Entry, Language, Problem

Capabilities = ()

DEFINITION = re.compile(r"^([ \t]*)((?:async +)?def|class) +(\w+)", re.MULTILINE)


class Python(Language):
    """Definitions make the outline."""

    suffixes = (".py", ".pyi")

    def outline(self, text: str) -> list[Entry]:
        entries, indents = [], [""]
        for found in DEFINITION.finditer(text):  # lines, not the syntax tree, which a broken text does not have
            while len(indents) > 1 and len(indents[-1]) >= len(found[1]):
                indents.pop()
            indents.append(found[1])
            line = text.count("\n", 0, found.start()) + 1
            entries.append(Entry(line, len(indents) - 1, f"{found[2]} {found[3]}"))
        return entries

    def check(self, text: str) -> list[Problem]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what Python would warn of is a SyntaxError then
                tree = ast.parse(text)
        except SyntaxError as exc:
            return [Problem(exc.lineno or 1, exc.msg)]
        problems = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                problems.append(Problem(node.lineno, "this `except` catches Ctrl-C too; name what it should catch"))
            defaults = (*node.defaults, *node.kw_defaults) if isinstance(node, ast.arguments) else ()
            shared = [default.lineno for default in defaults if isinstance(default, ast.List | ast.Dict | ast.Set)]
            problems += [Problem(line, "all calls share this default, and see its changes") for line in shared]
        return sorted(problems, key=lambda problem: problem.line)


def New() -> Python:
    """Returns the plugin."""
    return Python()
