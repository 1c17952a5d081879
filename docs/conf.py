"""How Sphinx builds the documentation: `nox -s docs`."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pluginhost"
author = "The pluginhost authors"
copyright = author
release = metadata.version("pluginhost")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "codes", "docstrings"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"pluginhost {release}"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autoclass_content = "both"  # the class, and how it is made
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
myst_heading_anchors = 3
