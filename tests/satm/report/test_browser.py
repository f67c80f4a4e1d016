"""The report page in a real headless Chromium: no error, tables that sort and filter, a phone's width, the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import satm
from tests.chromium import chromium
from tests.satm.workflow.reporting.registries import ATTACK, fill, rename

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
PHONE = 390  # CSS pixels


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this file."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three methods; one of them is called `<script>alert(1)</script>`."""
    folder = tmp_path_factory.mktemp("report")
    path = fill(folder / "satm.db")
    rename(path, "dm", ATTACK)
    return satm.write_report(folder / "report.html", registry=path).path


@pytest.fixture
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The report, opened without a network. An error or a dialog fails the test."""
    wrong: list[str] = []
    found = browser.new_page(viewport={"width": getattr(request, "param", 1280), "height": 900}, offline=True)
    found.set_default_timeout(120_000)  # milliseconds; other work may hold the processor
    found.on("console", lambda message: wrong.append(message.text))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    found.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    found.goto(report.as_uri())
    yield found
    found.close()
    assert wrong == []


def column(page: Page, name: str) -> list[str]:
    """The shown texts of a column of the leaderboard."""
    heads = page.locator("#headlines thead th").all_inner_texts()
    position = next(k for k, head in enumerate(heads) if head.strip(" ▲▼") == name)
    return page.locator(f"#headlines tbody tr:not([hidden]) td:nth-child({position + 1})").all_inner_texts()


def test_tables_sort_by_numbers_and_by_names(page: Page) -> None:
    head = page.get_by_role("button", name="accuracy (%)")
    head.click()
    falling = [float(text) for text in column(page, "accuracy (%)")]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 3
    head.click()
    assert [float(text) for text in column(page, "accuracy (%)")] == falling[::-1]
    assert page.locator("#headlines th[aria-sort=ascending]").count() == 1
    page.locator("#headlines").get_by_role("button", name="set", exact=True).click()
    assert column(page, "set") == sorted(column(page, "set"), key=lambda text: text.replace("<", " "))


def test_tables_filter_by_words_and_by_choices(page: Page) -> None:
    everything = len(column(page, "set"))
    page.locator("#headlines input").fill("mtt alexnet")
    assert column(page, "set") == ["cifar10/ipc2/mtt"]
    assert page.locator("#headlines output").inner_text() == f"1 of {everything} rows"
    page.locator("#headlines input").fill("")
    page.locator("#headlines").get_by_label("architecture").select_option("vgg11")
    assert set(column(page, "architecture")) == {"vgg11"}
    page.locator("#headlines input").fill("no such thing")
    assert column(page, "set") == []


def test_every_link_leads_to_a_place_and_opens_its_card(page: Page) -> None:
    lost = page.evaluate(
        "[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))"
        ".filter((href) => !href.startsWith('#') || !document.getElementById(href.slice(1)))"
    )
    assert lost == []
    page.locator("#headlines tbody a").first.click()
    assert page.locator("details.card[open]").count() == 1
    assert page.locator("details.card[open] pre").first.is_visible()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_shows_it_without_sideways_scrolling(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    letters = page.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart svg text')].map((text) => parseFloat(getComputedStyle(text)"
        ".fontSize) * text.ownerSVGElement.clientWidth / text.ownerSVGElement.viewBox.baseVal.width))"
    )
    assert letters >= 8  # CSS pixels
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('body *:not(svg *)')].filter((each) => each.checkVisibility() &&"
        " [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))"
        ".map((each) => parseFloat(getComputedStyle(each).fontSize)))"
    )
    assert smallest >= 11
    assert page.locator("#loss-1 svg").bounding_box()["width"] <= PHONE  # type: ignore[index]


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="accuracy (%)")
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#headlines th[aria-sort]").count() == 1
    page.locator("#incremental-1 .chart").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#incremental-1 .said").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#incremental-1 .said").inner_text()
    assert "step 1 of 2" in first
    assert "step 2 of 2" in second
    summary = page.locator("#incremental-1 summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#incremental-1 details table").is_visible()


def test_a_value_is_said_under_the_pointer(page: Page) -> None:
    page.locator("#heat-1 .hit").first.hover()
    said = page.locator("#heat-1 .said").inner_text()
    assert "3 condensations × 3 networks" in said
    assert "profile smoke" in said


def test_a_name_that_is_a_script_is_shown_and_never_run(page: Page) -> None:
    assert any(ATTACK in text for text in column(page, "set"))
    assert page.locator("script").count() == 1


def test_images_are_shown(page: Page) -> None:
    sizes = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(sizes) == 2  # the set that was renamed is damaged, and its picture says so
    assert min(sizes) > 0


def test_without_its_script_it_can_still_be_read(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    found = context.new_page()
    found.goto(report.as_uri())
    assert found.locator("#headlines tbody tr").count() > 5
    assert not found.locator("#headlines input").is_visible()
    context.close()


def test_a_page_that_is_watched_follows_the_file_and_keeps_what_the_reader_chose(
    browser: Browser, tmp_path: Path
) -> None:
    registry, output = fill(tmp_path / "satm.db", seeds=1), tmp_path / "report.html"
    satm.write_report(output, registry=registry, refresh=3600)
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
    page.set_default_timeout(120_000)
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.clock.install()  # the page reads the file again when the test moves the clock
    page.goto(output.as_uri())
    page.locator("#headlines").get_by_role("button", name="set", exact=True).click()
    page.locator("#headlines").get_by_label("architecture").select_option("vgg11")
    page.locator("details.card summary").first.click()
    page.locator("#headlines input").fill("cifar10")
    page.evaluate("scrollTo(0, 321)")
    before = column(page, "set")
    rename(registry, "dm", "newest")
    satm.write_report(output, registry=registry, refresh=3600)
    page.clock.fast_forward("01:00:01")
    page.locator("#headlines tbody", has_text="newest").wait_for(state="attached")
    page.wait_for_load_state()
    assert page.evaluate("scrollY") == 321
    assert column(page, "set") == sorted(name.replace("/dm", "/newest") for name in before)
    assert set(column(page, "architecture")) == {"vgg11"}
    assert page.locator("#headlines th[aria-sort=ascending]").inner_text().startswith("set")
    assert page.locator("#headlines input").input_value() == "cifar10"
    assert page.evaluate("document.activeElement.type") == "search"
    assert page.locator("details.card[open]").count() == 1
    satm.write_report(output, registry=registry)
    page.clock.fast_forward("01:00:01")
    page.locator("body:not([data-again])").wait_for(state="attached")
    page.close()
    assert wrong == []
