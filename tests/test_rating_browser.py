"""The page of `pim rate` in a real browser: a whole study with kills, pixels, keys, fingers, mishaps."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from PIL import Image
from rating_toys import SHOWN, Server, SimulatedRater, pictures, servers

from pim.datasets import table
from pim.rating.report import report
from pim.rating.store import content

pytestmark = pytest.mark.slow

DONE = "standing.done"
OPEN_LONG = f"{SHOWN} && performance.now() - trial.since > QUICK"
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def shared_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium: install one, or name it with PIM_CHROMIUM")
    with browser.page(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A study with names that are meant to do harm."""
    root = tmp_path_factory.mktemp("study")
    folders = pictures(root, 3, levels=4)
    for folder in folders:
        (folder / "scene0.png").rename(folder / f"{HOSTILE.replace('/', '')}.png")
        (folder / "scene1.png").rename(folder / "=cmd ..%2f..%2f 'a' &quot;.png")
    with servers() as start:
        yield start(*folders, "--db", root / "r.sqlite", "--rest", 0)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """A way to start servers of one's own."""
    with servers() as start:
        yield start


def fresh(tab: browser.Page, server: Server, **window: Any) -> None:
    """The page as somebody new finds it."""
    tab.open(server.address, **window)
    tab.wait("document.body.dataset.at !== undefined", "nothing is shown")
    tab.run("enterView()")


def enter(tab: browser.Page, server: Server, name: str, **window: Any) -> None:
    """A new rater, at the first question."""
    fresh(tab, server, **window)
    tab.call("Input.insertText", text=name)
    tab.press("Enter")
    tab.wait(OPEN_LONG, "there is no question")


def answers(file: Path) -> list[tuple[str, int]]:
    """Trials with an answer that stands, and its side."""
    with sqlite3.connect(file) as database:
        query = "SELECT t.token, a.right FROM answers a JOIN trials t USING (trial_id) WHERE a.withdrawn IS NULL"
        return database.execute(query).fetchall()


def test_three_raters_finish_a_study_whose_server_is_killed(
    shared_tab: browser.Page,
    serve: Callable[..., Server],
    tmp_path: Path,
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    folders = pictures(tmp_path, 10, levels=4)
    file = tmp_path / "ratings.sqlite"
    server = serve(*folders, "--db", file, "--judgements", 58, "--rest", 30)
    raters = [
        SimulatedRater(shared_tab.another(), name, seed, noise)
        for seed, (name, noise) in enumerate({"Ann": 0.3, "Ben": 0.5, "Cleo": 0.8}.items())
    ]
    for rater in raters:
        rater.enter(server.address)
    kills = [40, 120]  # answers after which the server dies, without waiting for what it says
    given_before, since = -1, time.monotonic()
    while not all(rater.finished for rater in raters):
        stepped = [rater.step() for rater in raters if not rater.finished]
        if (given_so_far := sum(len(rater.given) for rater in raters)) != given_before:
            given_before, since = given_so_far, time.monotonic()
        stuck = time.monotonic() - since > 120  # however slow the machine is, answers must go on
        assert not stuck, [rater.tab.run("document.body.innerText") for rater in raters]
        if kills and sum(len(rater.given) for rater in raters) >= kills[0] and any(stepped):
            kills.pop(0)
            server.stop(signal.SIGKILL)
            server.start()
    assert not kills

    given = {token: int(right) for rater in raters for token, right in rater.given.items()}
    kept = answers(file)
    assert len(kept) == len(dict(kept)) == len(given) >= 200
    assert dict(kept) == given

    code, told = server.stop(signal.SIGINT)
    assert (code, f"answers kept in {file}: 201" in told) == (130, True), told
    found = report(content(file))
    assert [rater.done for rater in found.raters] == [67, 67, 67]
    assert found.catch.value == 1
    assert found.answers == 3 * 58
    assert found.alpha is not None
    assert found.alpha > 0.2
    assert all(reason.startswith("half of the answers within 0.") for rater in found.raters for reason in rater.reasons)

    exported = tmp_path / "out" / "ratings.csv"
    exported.parent.mkdir()
    assert cli("rate", "export", file, "-o", exported).code == 0
    rated = table.read(exported)
    rated.require_whole()
    assert sum(record.people or 0 for record in rated.records()) == found.answers
    evaluated = cli("eval", "table", exported, "-m", "psnr", "--run", tmp_path / "run", "--format", "json", "-q")
    assert evaluated.code == 0, evaluated.err
    figures = {(f["metric"], f["part"]): f["value"] for f in json.loads(evaluated.out)["analyses"][0]["figures"]}
    assert 0.7 < figures["psnr", "all"] < figures["(best possible)", "all"], "they compare squared errors, with noise"
    head = tmp_path / "head.safetensors"
    fitted = cli("fit", exported, "-o", head, "--backbone", "rand0", "--form", "layer", "--resamples", 0, "-q")
    assert fitted.code == 0, fitted.err
    assert head.is_file()


def shown_pixels(tab: browser.Page, name: str, ratio: float) -> np.ndarray[Any, Any]:
    """The pixels of the screen where a picture is."""
    script = f"(b => [b.left, b.top, b.width, b.height])(document.querySelector('{name}').getBoundingClientRect())"
    left, top, width, height = (value * ratio for value in tab.run(script))
    assert abs(left - round(left)) < 0.02
    assert abs(top - round(top)) < 0.02
    screen = np.asarray(Image.open(io.BytesIO(tab.picture())).convert("RGB"))
    return screen[round(top) : round(top + height), round(left) : round(left + width)]


@pytest.mark.parametrize("ratio", [1, 1.25, 1.5, 2])
def test_one_pixel_of_a_picture_is_one_pixel_of_the_screen(tmp_path: Path, server: Server, ratio: float) -> None:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium: install one, or name it with PIM_CHROMIUM")
    held = {}
    with browser.page(program, tmp_path, ratio) as tab:
        enter(tab, server, f"ratio {ratio}")
        for side in ("left", "right", "reference"):
            name = tab.run(f"trial.{side}")
            with urllib.request.urlopen(f"{server.address}picture/{name}") as sent:
                held[side] = np.asarray(Image.open(io.BytesIO(sent.read())))
            assert np.array_equal(shown_pixels(tab, f"[data-pane={side}] img", ratio), held[side])
        tab.key_down(" ")
        assert np.array_equal(shown_pixels(tab, "[data-pane=left] img", ratio), held["reference"])
        tab.key_up(" ")
        assert np.array_equal(shown_pixels(tab, "[data-pane=left] img", ratio), held["left"])
        assert tab.run("trial.looks") == 1


def test_a_double_click_a_held_key_and_a_stale_tab_answer_once(shared_tab: browser.Page, server: Server) -> None:
    enter(shared_tab, server, "Dora")
    shared_tab.click("[data-answer=left]", count=2)
    shared_tab.wait(f"{DONE} === 1 && {OPEN_LONG}", "the answer does not arrive")
    for _ in range(3):
        shared_tab.key_down("a")
    shared_tab.key_up("a")
    shared_tab.wait(f"{DONE} === 2 && {OPEN_LONG}", "the answer does not arrive")
    box = shared_tab.run(
        "(b => [b.left + 9, b.top + 9])(document.querySelector('[data-answer]').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):  # the second half of a double click whose first half answered
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 2}
        shared_tab.call("Input.dispatchMouseEvent", type=kind, **at)
    assert shared_tab.run("trial.open")
    assert shared_tab.run("(trial.since = performance.now(), answer('left'), trial.open)"), "nobody judges in no time"
    shared_tab.wait(OPEN_LONG, "there is no question")
    stale = shared_tab.another()
    enter(stale, server, "dora ")
    assert stale.run(DONE) == 2
    shared_tab.press("b")
    shared_tab.wait(f"{DONE} === 3 && {OPEN_LONG}", "the answer does not arrive")
    stale.press("a")
    stale.wait(f"{DONE} === 3 && {OPEN_LONG}", "the stale tab does not catch up")
    assert "answered already" in stale.run("document.getElementById('trouble').textContent")
    assert stale.run("trial.token") == shared_tab.run("trial.token")
    stale.press("z")
    stale.wait(f"{DONE} === 2 && {OPEN_LONG}", "the answer is not taken back")
    assert stale.run("document.getElementById('undo').disabled")


def test_back_forward_and_reload_return_to_the_same_question(shared_tab: browser.Page, server: Server) -> None:
    enter(shared_tab, server, "Emil")
    shared_tab.press("ArrowRight")
    shared_tab.wait(f"{DONE} === 1 && {OPEN_LONG}", "the answer does not arrive")
    token = shared_tab.run("trial.token")
    for leave in ("history.back()", "location.reload()"):
        shared_tab.run(f"setTimeout(() => {leave}, 0)")
        time.sleep(0.5)
        if not shared_tab.run("location.href").startswith(server.address):
            shared_tab.run("setTimeout(() => history.forward(), 0)")
            time.sleep(0.5)
        shared_tab.wait("typeof standing !== 'undefined' && standing !== null && trial !== null && trial.open", leave)
        assert (shared_tab.run(DONE), shared_tab.run("trial.token")) == (1, token)


def test_the_keyboard_alone_suffices_and_shows_where_it_is(shared_tab: browser.Page, server: Server) -> None:
    enter(shared_tab, server, "Fay")
    for _ in range(2):
        shared_tab.press("Tab")
        assert shared_tab.run("getComputedStyle(document.activeElement).outlineStyle") in ("solid", "auto")
        if shared_tab.run("document.activeElement.textContent") == "A is closer":
            break
    shared_tab.press("Enter")
    shared_tab.wait(f"{DONE} === 1 && {OPEN_LONG}", "the answer does not arrive")
    assert shared_tab.run("document.activeElement.textContent") == "A is closer"
    shared_tab.press("z")
    shared_tab.wait(f"{DONE} === 0 && {OPEN_LONG}", "the answer is not taken back")


def test_a_mouse_or_finger_that_rests_on_a_picture_shows_the_reference(
    shared_tab: browser.Page, server: Server
) -> None:
    enter(shared_tab, server, "Gus")
    over = "getComputedStyle(document.querySelector('[data-pane=left] .over')).visibility"
    x, y = shared_tab.run(
        "(b => [b.left + 9, b.top + 9])(document.querySelector('[data-pane=left] .frame').getBoundingClientRect())"
    )
    mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
    shared_tab.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
    assert shared_tab.run(over) == "visible"
    shared_tab.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)
    assert shared_tab.run(over) == "hidden"
    shared_tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    assert shared_tab.run(over) == "visible"
    shared_tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert shared_tab.run(over) == "hidden"
    assert shared_tab.run(DONE) == 0


def test_a_question_and_a_third_answer_of_ones_own(
    shared_tab: browser.Page, serve: Callable[..., Server], tmp_path: Path
) -> None:
    folders, file = pictures(tmp_path, 2, levels=2), tmp_path / "r.sqlite"
    words = ("--question", f"Which is <b>sharper</b>? {HOSTILE}", "--instructions", "Look at edges.\nTake your time.")
    server = serve(*folders, "--db", file, "--no-difference", *words)
    fresh(shared_tab, server)
    assert "Look at edges." in shared_tab.run("document.querySelector('[data-view=enter]').innerText")
    assert "there is no third answer" not in shared_tab.run("document.body.innerText")
    enter(shared_tab, server, "Ann")
    assert shared_tab.run("document.querySelector('h1').innerText") == f"Which is <b>sharper</b>? {HOSTILE}"
    buttons = shared_tab.run("all('[data-answer]').map((button) => button.innerText)")
    assert buttons == ["A", "B", "No difference"]
    for number, key in enumerate(("n", "ArrowDown", "a"), 1):
        shared_tab.wait(OPEN_LONG, "there is no question")
        shared_tab.press(key)
        shared_tab.wait(f"{DONE} === {number}", "the answer was not taken")
    assert [right for _, right in answers(file)] == [None, None, 0]
    assert shared_tab.run("document.title") == "Compare pictures"


@pytest.mark.parametrize("width", [320, 768, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_and_the_theme_follows(
    shared_tab: browser.Page, server: Server, width: int, dark: bool
) -> None:
    fresh(shared_tab, server, width=width, dark=dark)
    assert shared_tab.run("document.documentElement.scrollWidth") <= width
    paper = "getComputedStyle(document.body).backgroundColor"
    assert shared_tab.run(paper) == ("rgb(20, 22, 27)" if dark else "rgb(251, 251, 253)")
    enter(shared_tab, server, f"{width} {dark}", width=width, dark=dark)
    assert shared_tab.run("document.documentElement.scrollWidth") <= width
    bottom = "document.getElementById('progress').getBoundingClientRect().bottom"
    assert shared_tab.run(bottom) <= 900


def test_nothing_is_asked_elsewhere_and_hostile_names_stay_text(shared_tab: browser.Page, server: Server) -> None:
    shared_tab.requests.clear()
    shared_tab.complaints.clear()
    enter(shared_tab, server, HOSTILE[:40])
    assert shared_tab.run("document.title") == "Compare pictures"
    assert shared_tab.run("document.getElementById('who').textContent") == HOSTILE[:40]
    for number in range(3):
        shared_tab.press("a")
        shared_tab.wait(f"{DONE} === {number + 1} && {OPEN_LONG}", "the answer does not arrive")
    asked = [url for url in shared_tab.requests if not url.startswith("data:")]
    assert all(url.startswith(server.address) for url in asked)
    assert shared_tab.complaints == []


def test_twenty_megapixels_keep_their_size_and_move_together(
    shared_tab: browser.Page, serve: Callable[..., Server], tmp_path: Path
) -> None:
    ramp = np.linspace(0, 255, 5400).astype(np.uint8)[None, :, None] * np.ones((3700, 1, 3), np.uint8)
    for name, shift in (("a", 0), ("b", 40), ("c", 90)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.roll(ramp, shift, axis=1)).save(tmp_path / name / "large.png", compress_level=1)
    server = serve(*(tmp_path / name for name in "abc"), "--db", tmp_path / "r.sqlite", "--catch", 0)
    enter(shared_tab, server, "Ida")
    assert shared_tab.run("[mode.panes, mode.whole]") == [2, False]
    assert "5400 × 3700 pixels" in shared_tab.run("document.getElementById('fit').textContent")
    image = "document.querySelector('[data-pane=left] img')"
    assert shared_tab.run(f"[{image}.offsetWidth, {image}.offsetHeight]") == [5400, 3700]
    frames = "[...document.querySelectorAll('.frame')].filter(f => f.offsetParent)"
    shared_tab.run(f"{frames}[1].scrollTo(2000, 1500)")
    shared_tab.wait(f"{frames}.every(f => f.scrollLeft === 2000 && f.scrollTop === 1500)", "they do not move together")
    shared_tab.press("a")
    shared_tab.wait(f"{DONE} === 1 && {OPEN_LONG}", "the answer does not arrive")

    shared_tab.open(server.address, width=360, height=640)
    shared_tab.wait(OPEN_LONG, "there is no question")
    assert shared_tab.run("mode.panes") == 1
    shared_tab.click("[data-answer=left]")
    time.sleep(0.3)
    assert shared_tab.run(DONE) == 1, "B was not looked at"
    shared_tab.click("[data-turn=right]")
    assert shared_tab.run("document.querySelector('[data-pane=right]').offsetHeight > 0")
    shared_tab.click("[data-answer=left]")
    shared_tab.wait(f"{DONE} === 2", "the answer does not arrive")
    server.stop()
    screens = [answer.screen for answer in content(tmp_path / "r.sqlite").answers]
    assert [(screen["whole"], screen["panes"]) for screen in screens] == [(0, 2), (0, 1)]
