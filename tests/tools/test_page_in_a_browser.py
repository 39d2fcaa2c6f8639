"""The page of `tools/report.py --html` in headless Chromium."""

import json
import shutil
import statistics

import pytest

from tests.harness.report.pages import full_output
from tests.harness.runs import run_dir
from tools.report import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
pytestmark = pytest.mark.long
BASE_TO_NEW = "table:has(caption:text-is('Base-to-new'))"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -r requirements.txt")
    if not CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS.split(), "--no-first-run"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    output = full_output(tmp_path_factory.mktemp("runs") / "output")
    assert main([str(output), "--html", str(output / "report.html")]) == 0
    return output


@pytest.fixture
def opened(browser, output):
    """`opened(width=..., color_scheme=...)` is the page in a new window; in the end none may have complained."""
    found, contexts = [], []

    def open_page(width=1280, height=800, color_scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=color_scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: found.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        page.on("request", lambda request: found.append(f"request: {request.url}"))
        page.goto((output / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = f"request: {(output / 'report.html').as_uri()}"
    assert [text for text in found if text != own and not text.startswith("request: data:")] == []


def column(page, number):
    return page.locator(f"{BASE_TO_NEW} tbody tr td:nth-child({number})").evaluate_all(
        "all => all.map(td => td.firstChild.data)"
    )


def accuracies(output, part, trainer):
    runs = [run_dir(output, part, seed, trainer=trainer) for seed in (1, 2)]
    return [json.loads((run / "metrics.json").read_text())["accuracy"] for run in runs]


def test_figures_are_those_of_metrics_json(opened, output):
    page = opened()
    assert column(page, 2) == ["CoOp", "SEP"]
    for part, number in (("base", 3), ("new", 4)):
        expected = []
        for trainer in ("CoOp", "SEP"):
            values = accuracies(output, part, trainer)
            expected.append(f"{statistics.fmean(values):.2f} ± {statistics.pstdev(values):.2f}")
        assert column(page, number) == expected
    words = page.locator("#base-new ~ .charts svg desc").first.text_content()
    assert expected[0] in words  # the last column: new


def test_a_click_sorts_and_says_so(opened):
    page = opened()
    header = page.locator(f"{BASE_TO_NEW} th", has_text="base")
    found = []
    for _ in range(3):
        header.locator("button").click()
        found.append((header.get_attribute("aria-sort"), column(page, 2)))
    assert found == [("descending", ["CoOp", "SEP"]), ("ascending", ["SEP", "CoOp"]), ("none", ["CoOp", "SEP"])]


def test_the_keyboard_sorts_too(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the tables"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "method":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert column(page, 2) == ["SEP", "CoOp"]
    assert page.locator(f"{BASE_TO_NEW} th[aria-sort=descending]").text_content() == "method"


def test_numbers_are_sorted_as_numbers_and_what_is_missing_comes_last(opened):
    page = opened()
    page.evaluate(
        """() => {
            const rows = [...document.querySelectorAll("table.sortable tbody")][0].rows;
            rows[0].cells[2].dataset.value = 100; rows[1].cells[2].dataset.value = 9;
            rows[1].cells[0].textContent = "—";
        }"""
    )
    button = page.locator(f"{BASE_TO_NEW} th button")
    button.nth(2).click()
    assert column(page, 2) == ["CoOp", "SEP"]
    button.nth(0).click()
    assert column(page, 2) == ["CoOp", "SEP"]
    button.nth(0).click()
    assert column(page, 2) == ["CoOp", "SEP"]


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_is_as_wide_as_the_window(opened, width):
    page = opened(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    letters = page.locator(".charts svg text").evaluate_all("all => all.map(t => t.getBoundingClientRect().height)")
    assert min(letters) > 8


def test_it_is_dark_where_the_system_is(opened):
    def brightness(page, what):
        return page.evaluate(f"getComputedStyle(document.body).{what}.match(/[0-9]+/g).reduce((a, b) => +a + +b) / 3")

    for scheme, paper, ink in (("light", (240, 255), (0, 60)), ("dark", (0, 40), (200, 255))):
        page = opened(color_scheme=scheme)
        for what, (low, high) in (("backgroundColor", paper), ("color", ink)):
            assert low <= brightness(page, what) <= high
        fill = page.locator(".charts svg text").first.evaluate("text => getComputedStyle(text).fill")
        assert fill == page.evaluate("getComputedStyle(document.body).color")


def test_every_picture_is_one(opened):
    page = opened()
    sizes = page.locator("img").evaluate_all(
        "all => Promise.all(all.map(image => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(sizes) == 7 and all(sizes)


def test_a_link_to_settings_opens_them(opened):
    page = opened()
    assert not page.locator("#settings-1").is_visible()
    page.locator("a[href='#settings-1']").first.click()
    page.wait_for_function("document.querySelector('#settings-1').checkVisibility()")
