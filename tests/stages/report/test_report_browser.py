"""The report in a real browser: Chromium without a window, driven by Selenium. Skipped where either is not to be had."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.project.project import Project
from stages.report import run as report
from tests.stages.report.report_project import make_report_project, report_params

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
)
SIZES = """return [...document.querySelectorAll("img")].map((each) => each.naturalWidth)"""
CROPS = """
const done = arguments[0];
Promise.all([...document.querySelectorAll("svg image")].map((each) => {
  const image = new Image();
  image.src = each.getAttribute("href");
  return image.decode().then(() => image.naturalWidth);
})).then(done, (error) => done(String(error)));
"""
VISIBLE = """return [...document.querySelectorAll("article")].filter((each) => each.offsetHeight > 0)
  .map((each) => [each.dataset.set, each.dataset.kind])"""
UNDER = """
const point = document.querySelectorAll("article svg")[1].querySelector(".touch");
point.scrollIntoView();
const box = point.getBoundingClientRect();
const found = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
return [found.getAttribute("class"), found.querySelector("title").textContent];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a new profile, on the report of a small project."""
    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with chromedriver on the path")
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_report_project(folder)
        report.run(Project(report_params()), lambda line: None)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.get("about:blank")
        opened.get_log("performance")  # of the browser's own first page
        opened.get((folder / report.REPORT_FOLDER / "report.html").as_uri())
        yield opened
    finally:
        opened.quit()


def chosen(browser: Any, name: str, value: str) -> list[list[str]]:
    """The people that are seen once that is chosen in the filter."""
    options = browser.find_elements("css selector", f"#filters select[name={name}] option")
    next(option for option in options if option.get_attribute("value") == value).click()
    return browser.execute_script(VISIBLE)


def test_it_loads_without_errors_and_asks_for_nothing(browser: Any) -> None:
    assert browser.title == "Pose Fusion: what was trained, and how well it does"
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("data:")} == {browser.current_url}


def test_the_images_show(browser: Any) -> None:
    sizes, crops = browser.execute_script(SIZES), browser.execute_async_script(CROPS)
    assert len(sizes) == 1 and sizes[0] > 300
    assert crops == [240] * 6
    assert all(
        each > 50
        for each in browser.execute_script(
            """return [...document.querySelectorAll("article svg")].map((each) => each.getBoundingClientRect().width)"""
        )
    )


def test_the_filter_filters(browser: Any) -> None:
    kinds = ["best", "typical", "worst"]
    everybody = [[name, kind] for name in ("coco", "other") for kind in kinds]
    count = browser.find_element("id", "count")
    assert browser.execute_script(VISIBLE) == everybody and count.text == "6 of 6 people"
    assert chosen(browser, "set", "other") == [["other", kind] for kind in kinds] and count.text == "3 of 6 people"
    assert chosen(browser, "kind", "worst") == [["other", "worst"]] and count.text == "1 of 6 people"
    assert chosen(browser, "set", "") == [["coco", "worst"], ["other", "worst"]]
    assert chosen(browser, "kind", "") == everybody


def test_a_keypoint_has_its_name_under_the_pointer(browser: Any) -> None:
    style, name = browser.execute_script(UNDER)
    assert style == "touch" and name.endswith(", confidence 0.75")


def test_text_of_plots_is_readable_on_dark_and_light_pages(browser: Any) -> None:
    """The text has the page's ink, which is near white on the dark page and near black on the light one."""
    inks = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        script = """return [getComputedStyle(document.querySelector(".plot svg text")).fill,
          getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"""
        inks[scheme] = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert inks == {
        "light": ["rgb(29, 31, 34)", "rgb(29, 31, 34)", "rgb(255, 255, 255)"],
        "dark": ["rgb(228, 230, 233)", "rgb(228, 230, 233)", "rgb(22, 24, 27)"],
    }


def test_nothing_sticks_out_on_a_small_screen(browser: Any) -> None:
    size = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_makes_no_difference_that_a_file_is_named_like_a_script(browser: Any) -> None:
    assert "<script>document.title='hacked'<script>" in browser.find_element("id", "gallery").text
    assert browser.title.startswith("Pose Fusion")


def test_the_browser_test_would_notice_an_error(browser: Any, tmp_path: Path) -> None:
    """A page with a broken script and a foreign image, in the same browser."""
    here = browser.current_url
    broken = tmp_path / "broken.html"
    broken.write_text("<!doctype html><script>nothing.here()</script><img src='missing.png'>")
    browser.get(broken.as_uri())
    assert len(browser.get_log("browser")) >= 2 and browser.execute_script(SIZES) == [0]
    browser.get(here)
