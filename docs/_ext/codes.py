"""A page for each code of `pluginhost.catalogue.CODES`, written before Sphinx reads, and the directive that lists them.

The pages are files in docs/codes/, so that the table of contents, links and the search know them like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from pluginhost.catalogue import CODES
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from pluginhost.catalogue import Code
    from sphinx.application import Sphinx
    from sphinx.config import Config

# When something is noticed, by stage, in the order in which a plugin goes through them.
STAGES = {
    "discovery": "when the metadata of what is installed is read",
    "admission": "before anything of the plugin is imported",
    "probe": "in a process that may be lost: that of a first load, or of a plugin that is measured",
    "import": "while the plugin's module is imported",
    "lookup": "when a name is looked up in the plugin's module",
    "new": "when the factory makes the plugin",
    "type": "when the plugin is held against its contract, before it is used",
    "init": "while the plugin starts",
    "call": "while a method of the plugin runs",
    "shutdown": "while the plugin shuts down",
    "isolation": "in the process of its own that a plugin has",
    "goplugin": "between a go-plugin program and its host",
    "reload": "when a running plugin is to have another generation",
    "control": "between a running host and the command that acts on it",
    "usage": "in what you called or wrote; it is not about a plugin",
}


class CodesDirective(SphinxDirective):
    """Writes a section for each stage, with every code, its meaning, and a link to its page."""

    def run(self) -> list[nodes.Node]:
        return [self._section(stage, when) for stage, when in STAGES.items()]

    def _section(self, stage: str, when: str) -> nodes.section:
        section = nodes.section("", nodes.title("", stage), ids=[f"stage-{stage}"], names=[f"stage-{stage}"])
        section += nodes.paragraph("", f"Noticed {when}.")
        listing = nodes.definition_list()
        for name, code in CODES.items():
            if code.stage == stage:
                term = nodes.term("", "", self._link(name), ids=[name])
                if code.severity != "error":
                    term += nodes.Text(f" ({code.severity})")
                meaning = nodes.definition("", nodes.paragraph("", "", *_inline(code.meaning)))
                listing += nodes.definition_list_item("", term, meaning)
        section += listing
        return section

    def _link(self, name: str) -> pending_xref:
        where = {"refdomain": "std", "reftype": "doc", "reftarget": f"/codes/{name}", "refdoc": self.env.docname}
        return pending_xref("", nodes.literal("", name), refexplicit=True, refwarn=True, **where)


def _inline(text: str) -> list[nodes.Node]:
    """Returns text with what stands between backticks as code."""
    return [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(text.split("`"))]


def _markdown(text: str) -> str:
    """Returns text whose characters mean themselves in Markdown, but for code between backticks."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = "".join(f"\\{character}" if character in "\\*_[]<>#~$" else character for character in parts[i])
    return "`".join(parts)


def _page(name: str, code: Code) -> str:
    """Returns the page of a code, in Markdown."""
    weight = "An error" if code.severity == "error" else "A warning: the plugin runs all the same"
    return f"""# {name}

**{_markdown(code.meaning)}** {weight}, noticed {STAGES[code.stage]}.

## How it comes about

{_markdown(code.cause)}

## How to mend it

{_markdown(code.mend)}

`pluginhost explain {name}` prints this on your terminal. [All codes](../codes.md).
"""


def _write_pages(app: Sphinx, config: Config) -> None:
    folder = Path(app.srcdir, "codes")
    folder.mkdir(exist_ok=True)
    pages = {f"{name}.md": _page(name, code) for name, code in CODES.items()}
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for file, page in pages.items():
        path = folder / file
        if not path.is_file() or path.read_text("utf-8") != page:  # what has not changed is not read anew
            path.write_text(page, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Hands pages and directive to Sphinx."""
    app.connect("config-inited", _write_pages)
    app.add_directive("codes", CodesDirective)
    return {"parallel_read_safe": True}
