"""The directive `{codes}`: `pluginhost.catalogue.CODES`, stage by stage, each code with an anchor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes
from pluginhost.catalogue import CODES
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from pluginhost.catalogue import Code
    from sphinx.application import Sphinx


class CodesDirective(SphinxDirective):
    """Writes a section for each stage, in the order in which a plugin goes through them."""

    def run(self) -> list[nodes.Node]:
        stages: dict[str, dict[str, Code]] = {}
        for name, code in CODES.items():
            stages.setdefault(code.stage, {})[name] = code
        return [_section(stage, codes) for stage, codes in stages.items()]


def _section(stage: str, codes: dict[str, Code]) -> nodes.section:
    section = nodes.section("", nodes.title("", stage), ids=[f"stage-{stage}"], names=[f"stage-{stage}"])
    listing = nodes.definition_list()
    for name, code in codes.items():
        term = nodes.term("", "", nodes.literal("", name), ids=[name])
        if code.severity != "error":
            term += nodes.Text(f" ({code.severity})")
        meaning = nodes.definition("", nodes.paragraph("", "", *_inline(code.meaning)))
        listing += nodes.definition_list_item("", term, meaning)
    section += listing
    return section


def _inline(text: str) -> list[nodes.Node]:
    """Returns text with what stands between backticks as code."""
    return [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(text.split("`"))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Hands the directive to Sphinx."""
    app.add_directive("codes", CodesDirective)
    return {"parallel_read_safe": True}
