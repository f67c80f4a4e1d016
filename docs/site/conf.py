"""The documentation site (`make site`): the Markdown of this repository as it is, and the docstrings of the Python API.

Sphinx reads from the root of the repository, so that the links between README.md, docs and the code lead somewhere.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

project = "satm"
copyright = "the satm authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/how-to/*.md", "docs/site/*.md"]
exclude_patterns = [".*", "build", "demo", "tests", "satm", "benchmarks"]  # not walked: a virtual environment is large
myst_heading_anchors = 4  # as deep as any page links
default_role = "code"  # docstrings write `name` for code
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
html_theme = "furo"
html_title = "satm"
html_copy_source = False
templates_path = ["templates"]
html_additional_pages = {"index": "start.html"}  # a web server's first page

# What other packages build on, besides the functions of `satm`.
EXTENDED = {
    "registry": ("Registry",),
    "satm.methods": ("Method", "Condensation", "Task", "Outcome"),
    "satm.methods.outer": ("OuterOptimiser", "OuterRule", "Rule"),
    "satm.data": ("DatasetSpec", "Raw"),
    "satm.networks": ("Network",),
    "satm.exchange.base": ("Layout",),
    "evaluation.metrics": ("Metric",),
    "protocols.base": ("ClassIncremental", "Learner"),
}


def sidebar(index: str) -> str:
    """Tables of contents for the sidebar: the pages that each section of docs/index.md links to, in its order."""
    parts = ["```{toctree}\n:hidden:\n\n/docs/index\n```"]
    for section in index.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        links = [os.path.normpath(f"/docs/{link}") for link in re.findall(r"\]\(([^)#:]+)\.md\)", text)]
        pages = [page for page in links if page != f"/{root_doc}"]
        parts.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]))
    return "\n\n".join(parts)


def reference() -> str:
    """The Python API: what `satm` offers, in its order, then what other packages build on."""
    import satm

    homes = {"satm": tuple(name for name in satm.__all__ if not name.startswith("_")), **EXTENDED}
    lines: list[str] = []
    for module, names in homes.items():
        lines += [f"## {module}", "", "```{eval-rst}"]
        for name in names:
            kind = "autoclass" if inspect.isclass(getattr(import_module(module), name)) else "autofunction"
            lines += [f".. {kind}:: {module}.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
        lines += ["```", ""]
    return "\n".join(lines)


def fill(app: Any, page: str, source: list[str]) -> None:
    """Add to a page what is not in its file."""
    if page == root_doc:
        source[0] += "\n\n" + sidebar((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    elif page == "docs/site/api":
        source[0] += "\n" + reference()


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill)
