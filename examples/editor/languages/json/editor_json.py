"""JSON for the editor: the keys of its objects."""

import json
import re
from collections.abc import Iterator

from editor_api import Entry, Language, PluginError, Problem

Capabilities = ("format",)

TOKEN = re.compile(r'("(?:[^"\\\n]|\\.)*")(\s*:)?|[{}\[\]]')


class Json(Language):
    """Keys make the outline; what is formatted holds the same values."""

    suffixes = (".json",)

    def outline(self, text: str) -> list[Entry]:
        return [entry for entry, _ in keys(text)]

    def check(self, text: str) -> list[Problem]:
        try:
            json.loads(text)
        except json.JSONDecodeError as exc:
            return [Problem(exc.lineno, exc.msg)]
        return [Problem(entry.line, f"the key {entry.title} is here twice") for entry, known in keys(text) if known]

    def format(self, text: str) -> str:
        for problem in self.check(text):  # of a key that is there twice, one value would be lost
            raise PluginError(f"line {problem.line}: {problem.message}")
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def keys(text: str) -> Iterator[tuple[Entry, bool]]:
    """Yields each key, and whether its object has had it before."""
    within: list[set[str]] = []  # the keys so far of each object and array that is open
    for token in TOKEN.finditer(text):
        key, colon = token.groups()
        if token[0] in "{[":
            within.append(set())
        elif token[0] in "}]":
            del within[-1:]
        elif colon and within:
            yield Entry(text.count("\n", 0, token.start()) + 1, len(within), key[1:-1]), key in within[-1]
            within[-1].add(key)


def New() -> Json:
    """Returns the plugin."""
    return Json()
