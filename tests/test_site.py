"""`make site` builds the documentation site without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import satm

ROOT = Path(__file__).parent.parent


class Found(HTMLParser):
    """The links and the anchors of a built page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {name for name in (given.get("id"), given.get("name")) if name}
        self.links += [link for link in (given.get("href"), given.get("src")) if link]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command of `make site`. A warning, such as a link to nothing, is an error."""
    out = tmp_path_factory.mktemp("site")
    line = next(each for each in (ROOT / "Makefile").read_text().splitlines() if "-m sphinx" in each)
    words = line.replace("$(BIN)/python", sys.executable).split()
    done = subprocess.run(
        [*words[:-1], str(out)], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {page: Found(page) for page in site.rglob("*.html")}
    assert len(pages) > 35
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page.relative_to(site)}: {link}: there is no such file"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{page.relative_to(site)}: {link}: no anchor"


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page


def test_the_api_page_has_every_function_with_its_docstring(site: Path) -> None:
    found = Found(site / "docs" / "site" / "api.html")
    assert {f"satm.{name}" for name in satm.__all__ if not name.startswith("_")} <= found.anchors
    text = (site / "docs" / "site" / "api.html").read_text(encoding="utf-8")
    assert "Everything that a user of a stored set cites." in text
    assert {"registry.Registry", "satm.methods.Method", "protocols.base.Learner"} <= found.anchors


def test_the_sidebar_has_the_pages_of_the_index(site: Path) -> None:
    links = Found(site / "README.html").links
    assert {"docs/index.html", "docs/tutorial.html", "docs/how-to/method.html", "CHANGELOG.html"} <= set(links)
