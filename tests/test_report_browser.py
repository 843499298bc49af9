"""The page of `pim report` in a real browser: tabs, slider, keys, themes, sizes; no request, no complaint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import browser
import pytest
from eval_toys import make_plan

from pim.core.files import write_text
from pim.eval.analysis import AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import Plan
from pim.eval.report import page, section
from pim.eval.report_cases import Gallery
from pim.eval.run import RunOptions
from pim.eval.session import evaluate

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\u202e"
SELECTED = "document.querySelector('#run-1 [aria-selected=true]').textContent"
VISIBLE = "[...document.querySelectorAll('#run-1 > .panel:not([hidden])')].map(p => p.dataset.panel)"
VIEWER = "document.querySelector('[data-viewer]')"
CLIP = f"{VIEWER}.querySelector('[data-top]').style.clipPath"
VALUE = f"Number({VIEWER}.querySelector('[data-slider]').value)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two runs with pictures and hostile names."""
    from pim.metrics.registry import load

    root = tmp_path_factory.mktemp("page")
    plan = make_plan(root / "pictures")
    rows = tuple(replace(j, key=HOSTILE + j.key, distortion=HOSTILE + str(j.distortion)) for j in plan.judgements)
    plan = Plan(replace(plan.about, notes=(HOSTILE,)), plan.pairs, rows)
    options = AnalysisOptions(IntervalOptions(draws=100))
    metrics = [load(name) for name in ("psnr", "ssim")]
    evaluate(root / "run", plan, metrics, {}, RunOptions(workers=0), options, lambda total, done: nullcontext(_count))
    made = section(root / "run", options, Gallery(lambda: plan, list, 2))
    write_text(root / "report.html", page([made, made]))
    return root / "report.html"


def _count(count: int = 1, note: str = "") -> None:
    """Progress, which nobody looks at."""


@pytest.fixture(scope="module")
def shared_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium: install one, or name it with PIM_CHROMIUM")
    with browser.page(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def tab(shared_tab: browser.Page, file: Path) -> browser.Page:
    """The page, freshly loaded."""
    shared_tab.open(file)
    return shared_tab


def focus(tab: browser.Page, selector: str) -> None:
    tab.run(f"document.querySelector({selector!r}).focus()")


def open_tab(tab: browser.Page, name: str) -> None:
    tab.run(f"[...document.querySelectorAll('#run-1 [role=tab]')].find(t => t.textContent === {name!r}).click()")


def test_nothing_is_requested_and_nothing_complains(tab: browser.Page, file: Path) -> None:
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(file)
    for name in tab.run("[...document.querySelectorAll('#run-1 [role=tab]')].map(t => t.textContent)"):
        open_tab(tab, name)
    time.sleep(0.5)
    tab.run("1")
    assert [url for url in tab.requests if not url.startswith("data:")] == [file.as_uri()]
    assert tab.complaints == []
    assert tab.run("document.title").startswith("toy")


def test_the_policy_stops_requests_and_the_test_would_see_them(tab: browser.Page) -> None:
    tab.complaints.clear()
    tab.run("document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'}))")
    time.sleep(0.5)
    tab.run("1")
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_all_pictures_are_there(tab: browser.Page) -> None:
    assert tab.run("document.images.length") == 12
    assert tab.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_tabs_show_one_panel_and_follow_the_arrow_keys(tab: browser.Page) -> None:
    names = tab.run("[...document.querySelectorAll('#run-1 [role=tab]')].map(t => t.textContent)")
    assert names == ["Agreement", "By part", "Scatter", "Cost", "Disagreement", "Details"]
    assert tab.run(VISIBLE) == ["Agreement"]
    focus(tab, "#run-1 [role=tab]")
    for key, wanted in (
        ("ArrowRight", "By part"),
        ("ArrowRight", "Scatter"),
        ("ArrowLeft", "By part"),
        ("End", "Details"),
        ("ArrowRight", "Agreement"),
        ("ArrowLeft", "Details"),
        ("Home", "Agreement"),
    ):
        tab.press(key)
        assert tab.run(SELECTED) == wanted
        assert tab.run(VISIBLE) == [wanted]
        assert tab.run("document.activeElement.textContent") == wanted
    assert tab.run("document.querySelectorAll('#run-1 [role=tab][tabindex=\"0\"]').length") == 1


def test_tabs_name_their_panels(tab: browser.Page) -> None:
    assert tab.run(
        "[...document.querySelectorAll('[role=tab]')].every(t => {"
        "const p = document.getElementById(t.getAttribute('aria-controls'));"
        "return p.getAttribute('role') === 'tabpanel' && p.getAttribute('aria-labelledby') === t.id; })"
    )


def test_the_slider_moves_the_edge_between_the_pictures(tab: browser.Page) -> None:
    open_tab(tab, "Disagreement")
    assert tab.run(CLIP) == "inset(0px 50% 0px 0px)"
    focus(tab, "[data-slider]")
    tab.press("ArrowRight")
    assert (tab.run(VALUE), tab.run(CLIP)) == (51, "inset(0px 49% 0px 0px)")
    tab.press("Home")
    assert (tab.run(VALUE), tab.run(CLIP)) == (0, "inset(0px 100% 0px 0px)")
    assert tab.run(f"{VIEWER}.querySelector('[data-status]').textContent") == "Shown: distorted."


@pytest.mark.parametrize("key", [" ", "Enter"])
@pytest.mark.parametrize("place", ["[data-stage]", "[data-flip]"])
def test_keys_flip_the_pictures(tab: browser.Page, place: str, key: str) -> None:
    open_tab(tab, "Disagreement")
    focus(tab, place)
    seen = []
    for _ in range(3):
        tab.press(key)
        seen.append(tab.run(VALUE))
    assert seen == [100, 0, 100]
    assert tab.run(CLIP) == "inset(0px 0% 0px 0px)"


def test_a_map_is_shown_until_it_is_pressed_again(tab: browser.Page) -> None:
    open_tab(tab, "Disagreement")
    shown = f"getComputedStyle({VIEWER}.querySelector('[data-map]')).visibility"
    focus(tab, "[data-show]")
    assert tab.run(shown) == "hidden"
    tab.press("Enter")
    assert tab.run(shown) == "visible"
    assert tab.run(f"{VIEWER}.querySelector('[data-show]').getAttribute('aria-pressed')") == "true"
    tab.press("Enter")
    assert tab.run(shown) == "hidden"


def test_every_control_is_reached_by_the_tab_key_and_shows_it(tab: browser.Page) -> None:
    open_tab(tab, "Disagreement")
    focus(tab, "#run-1 [aria-selected=true]")
    reached = []
    for _ in range(7):
        tab.press("Tab")
        reached.append(tab.run("Object.keys(document.activeElement.dataset)[0] || document.activeElement.className"))
        outline = tab.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline in ("solid", "auto")
    assert reached == ["panel", "stage", "slider", "flip", "show", "scroll", "stage"]


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_follows_the_system_and_the_button(shared_tab: browser.Page, file: Path, dark: bool) -> None:
    shared_tab.open(file, dark=dark)
    paper = "getComputedStyle(document.body).backgroundColor"
    light_paper, dark_paper = "rgb(251, 251, 253)", "rgb(20, 22, 27)"
    assert shared_tab.run(paper) == (dark_paper if dark else light_paper)
    focus(shared_tab, "#theme")
    shared_tab.press("Enter")
    assert shared_tab.run(paper) == (light_paper if dark else dark_paper)
    shared_tab.press("Enter")
    assert shared_tab.run(paper) == (dark_paper if dark else light_paper)


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_nothing_sticks_out_at_any_width(shared_tab: browser.Page, file: Path, width: int) -> None:
    shared_tab.open(file, width=width)
    for name in shared_tab.run("[...document.querySelectorAll('#run-1 [role=tab]')].map(t => t.textContent)"):
        open_tab(shared_tab, name)
        assert shared_tab.run("document.documentElement.scrollWidth") <= width, name


def test_without_scripts_everything_is_there(shared_tab: browser.Page, file: Path) -> None:
    shared_tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        shared_tab.open(file)
        assert shared_tab.run("[...document.querySelectorAll('.panel')].every(p => p.offsetHeight > 0)")
        assert shared_tab.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    finally:
        shared_tab.call("Emulation.setScriptExecutionDisabled", value=False)
