"""Markdown for the editor: headings, and fenced blocks of code."""

import re
from collections.abc import Iterator

from editor_api import Entry, Language, Problem

Capabilities = ("format",)

HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)([ \t]+#+)?[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})(.*)")


class Markdown(Language):
    """Headings make the outline, and are what is formatted."""

    suffixes = (".md", ".markdown")

    def outline(self, text: str) -> list[Entry]:
        lines = text.splitlines()
        code = {number for block in blocks(lines) for number in block}
        return [
            Entry(number, len(heading[1]), heading[2])
            for number, line in enumerate(lines, 1)
            if number not in code and (heading := HEADING.fullmatch(line))
        ]

    def check(self, text: str) -> list[Problem]:
        lines, level = text.splitlines(), 0
        endless = (block for block in blocks(lines) if block.stop > len(lines) + 1)
        problems = [Problem(block.start, "this block of code does not end") for block in endless]
        for entry in self.outline(text):
            if entry.level > level + 1:
                above = f"one of level {level}" if level else "none"
                problems.append(Problem(entry.line, f"this heading of level {entry.level} follows {above}"))
            level = entry.level
        return sorted(problems, key=lambda problem: problem.line)

    def format(self, text: str) -> str:
        lines, formatted = text.splitlines(), [""]
        code = {number for block in blocks(lines) for number in block}
        for number, line in enumerate(lines, 1):
            if number in code:
                formatted.append(line)
            elif heading := HEADING.fullmatch(line):
                formatted += [""] if formatted[-1] else []
                formatted += [f"{heading[1]} {heading[2]}", ""]
            elif line.strip():
                formatted.append(line.rstrip() + ("  " if line.endswith("  ") else ""))  # two spaces break the line
            elif formatted[-1]:
                formatted.append("")
        return "\n".join(formatted).strip("\n") + "\n"


def blocks(lines: list[str]) -> Iterator[range]:
    """Yields the lines of each fenced block by their numbers; one that does not end goes beyond the last line."""
    start, fence = 0, ""
    for number, line in enumerate(lines, 1):
        found = FENCE.fullmatch(line)
        if found and not fence:
            start, fence = number, found[1]
        elif found and found[1].startswith(fence) and not found[2].strip():
            yield range(start, number + 1)
            fence = ""
    if fence:
        yield range(start, len(lines) + 2)


def New() -> Markdown:
    """Returns the plugin."""
    return Markdown()
