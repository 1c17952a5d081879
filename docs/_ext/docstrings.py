"""Docstrings write code and drawings as Markdown does; Sphinx reads reStructuredText.

`x` is code, and what stands between lines of ``` is a drawing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx


_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def _translate(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    drawn: list[str] = []
    inside = False
    for line in lines:
        if line == "```":
            inside = not inside
            drawn += [".. code-block:: text", ""] if inside else [""]
        else:
            drawn.append(f"   {line}" if inside else _CODE.sub(r"``\1``", line))
    lines[:] = drawn


def setup(app: Sphinx) -> dict[str, bool]:
    """Hands the translation to Sphinx."""
    app.connect("autodoc-process-docstring", _translate, priority=400)  # before napoleon, which does at 500
    return {"parallel_read_safe": True}
