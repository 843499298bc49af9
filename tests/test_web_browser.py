"""The page of `pim web` in a real browser: the same values, displacements and words as the package."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from PIL import Image

import pim
from pim.metrics.ruler import rulers
from pim.pim.maps import distance_map
from pim.pim.registration import Displacement, Tone, describe, register
from pim.web import runtime, server

pytestmark = pytest.mark.slow

READY = "document.getElementById('shades').style.background !== ''"
RESULT = "document.getElementById('result')"
STATUS = "document.getElementById('status')"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    folder = runtime.cached()
    if folder is None:
        pytest.skip(f"no onnxruntime-web {runtime.VERSION} in the cache: pim web and make site fetch it")
    with server.server(folder, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()


@pytest.fixture(scope="module")
def tab(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium: install one, or name it with PIM_CHROMIUM")
    with browser.page(program, tmp_path_factory.mktemp("profile")) as opened:
        opened.open(address)
        opened.wait(READY, "the page does not start")
        yield opened


def choose(tab: browser.Page, *files: Path) -> None:
    """Pick files by the two inputs."""
    tab.run(f"{RESULT}.hidden = true, {STATUS}.className = ''")
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    inputs = tab.call("DOM.querySelectorAll", nodeId=root, selector="input[type=file]")["nodeIds"]
    for node, file in zip(inputs, files, strict=True):
        tab.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)


def compared(tab: browser.Page, *files: Path) -> dict[str, Any]:
    """What the page finds for reference and distorted picture."""
    choose(tab, *files)
    tab.wait(f"!{RESULT}.hidden || {STATUS}.className === 'refused'", "the page does not answer")
    assert not tab.run(f"{RESULT}.hidden"), tab.run(f"{STATUS}.textContent")
    data = tab.run(f"({{...{RESULT}.dataset}})")
    return {key: json.loads(value) for key, value in data.items()} | {"words": tab.run(f"{RESULT}.innerText")}


def asked(tab: browser.Page, file: str, expression: str) -> Any:
    """The value of an expression in which `m` is a module of the page."""
    tab.run(f"window.found = undefined, import('./{file}').then(m => window.found = {expression}), 0")
    tab.wait("window.found !== undefined", f"{expression} has no value")
    return tab.run("window.found")


def saved(path: Path, picture: torch.Tensor) -> Path:
    """A picture (3, H, W) as a PNG of 8 bits."""
    Image.fromarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    return path


def opened(path: Path) -> torch.Tensor:
    return torch.from_numpy(pim.open_image(path).pixels).permute(2, 0, 1)


def moved(picture: torch.Tensor, x: float, y: float, turn: float = 0, zoom: float = 1) -> torch.Tensor:
    """A picture (3, H, W) whose content lies (x, y) pixels further, turned clockwise by radians, and larger."""
    height, width = picture.shape[-2:]
    c, s = np.cos(turn) / zoom, np.sin(turn) / zoom
    rows = (torch.arange(height) - (height - 1) / 2 - y)[:, None].expand(height, width)
    columns = (torch.arange(width) - (width - 1) / 2 - x).expand(height, width)
    places = torch.stack([(c * columns + s * rows) * 2 / width, (c * rows - s * columns) * 2 / height], -1)
    return F.grid_sample(picture[None], places[None].float(), "bicubic", "reflection", align_corners=False)[0]


EXAMPLES = ROOT / "examples" / "reference.png", ROOT / "examples" / "distorted.png"


def test_the_distance_is_that_of_the_package(tab: browser.Page, tmp_path: Path, random_images: Any) -> None:
    metric = pim.load("pim")
    pairs = [EXAMPLES, EXAMPLES[:1] * 2]
    for height, width in ((40, 33), (97, 151), (1110, 65), (61, 2090)):
        images = random_images(2, height, width, seed=height)
        if max(height, width) > 1024:  # in tiles: different only where two meet
            same = torch.ones(height, width, dtype=torch.bool)
            same[1000:1048] = False
            same[:, 1000:1048] = False
            images[1][:, same] = images[0][:, same]
        pairs.append(tuple(saved(tmp_path / f"{height}{i}.png", image) for i, image in enumerate(images)))
    for reference, distorted in pairs:
        found = compared(tab, reference, distorted)
        plain = float(metric(opened(reference), opened(distorted)))
        assert found["plain"] == pytest.approx(plain, abs=2e-6), reference.name
        assert found["mean"] == pytest.approx(found["plain"], abs=1e-5), "the mean of the map"


@pytest.mark.parametrize(
    ("motion", "tone"),
    [((3.4, -2.3), 0.7), ((4, 1.2, 0.02, 1.03), 1.3), ((0, 0), 0.6)],
)
def test_displacement_tone_and_value_are_those_of_the_package(
    tab: browser.Page, tmp_path: Path, motion: tuple[float, ...], tone: float
) -> None:
    scene = opened(EXAMPLES[0])
    noise = 0.02 * torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    changed = (moved(scene, *motion) - 0.45) * tone + 0.45 + noise
    files = saved(tmp_path / "a.png", scene), saved(tmp_path / "b.png", changed)
    found = compared(tab, *files)
    (score,) = pim.score([files])
    (known,) = register(opened(files[0])[None], opened(files[1])[None])
    here = found["displacement"]
    assert here["found"] == known.found == (motion != (0, 0))
    assert (here["x"], here["y"]) == pytest.approx(known.shift, abs=0.05)
    assert (here["x"], here["y"]) == pytest.approx(motion[:2], abs=0.1)
    assert (here["turn"], here["zoom"]) == pytest.approx((known.turn, known.zoom), abs=0.05)
    assert found["value"] == pytest.approx(score.values["pim"], abs=1e-3)
    change = score.changes["pim"]
    assert found["left"] == pytest.approx(change.left, abs=1e-3)
    assert str(change).rpartition("; what")[0] in found["words"]
    assert f"{rulers()['pim'].place(found['value'])}" in found["words"]


def test_pictures_of_different_things_are_not_laid_on_each_other(tab: browser.Page, tmp_path: Path) -> None:
    scene = opened(EXAMPLES[0])
    other = saved(tmp_path / "other.png", scene.flip(1, 2)[[2, 0, 1]] ** 2)
    assert not compared(tab, EXAMPLES[0], other)["displacement"]["found"]


def test_the_ruler_says_what_it_says_in_the_package(tab: browser.Page) -> None:
    values = np.geomspace(0.01, 2, 400).tolist()
    marks = "(await (await fetch('facts.json')).json()).ruler"
    tab.run(f"(async () => {{ window.marks = {marks}; }})(), 0")
    tab.wait("window.marks", "no ruler")
    words = asked(tab, "words.js", f"{json.dumps(values)}.map(v => m.place(v, window.marks))")
    assert words == [str(rulers()["pim"].place(value)) for value in values]


def test_changes_are_told_in_the_words_of_the_package(tab: browser.Page) -> None:
    random = np.random.default_rng(0)
    told, known = [], []
    for scale in (0.04, 0.3, 3.0) * 20:
        x, y, turn, zoom, red, green, blue, gain = random.normal(0, scale, 8).tolist()
        contrast, colour = float(np.exp(gain / 2)), tuple(value / 8 for value in (red, green, blue))
        place = Displacement(((1, 0, 0), (0, 1, 0)), 1.25, ((0, 0),) * 4, (x, y), turn, zoom, 1.0, None)  # type: ignore[arg-type]
        known.append(describe(place, Tone(contrast, colour, (0.5, 0.5, 0.5), None)))  # type: ignore[arg-type]
        light = {"contrast": contrast, "brightness": colour}
        told.append({"displacement": {"x": x, "y": y, "turn": turn, "zoom": zoom, "pixels": 1.25}, "tone": light})
    assert asked(tab, "words.js", f"{json.dumps(told)}.map(change => m.describe(change))") == known


def test_the_map_is_that_of_the_package(tab: browser.Page) -> None:
    metric = pim.load("pim")
    sizes = [(4, 6), (8, 11), (16, 21), (16, 21)]  # of a picture of 64 x 84
    generator = torch.Generator().manual_seed(0)
    bands = [torch.rand(1, *size, generator=generator) for size in sizes]
    weights = metric.config.band_weights
    whole = distance_map(bands, torch.tensor(weights), metric.config, (64, 84))
    plain = [{"width": w, "height": h, "data": b.flatten().tolist()} for (h, w), b in zip(sizes, bands, strict=True)]
    given = f"{json.dumps(plain)}.map(b => ({{...b, data: Float32Array.from(b.data)}}))"
    found = asked(tab, "score.js", f"[...m.mapOf({given}, {json.dumps(weights)}).data]")
    np.testing.assert_allclose(found, F.avg_pool2d(whole, 4).flatten(), rtol=1e-4)


def transparent() -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (64, 64), (9, 9, 9, 254)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "cannot be read as a picture by this browser"),
        (EXAMPLES[0].read_bytes()[:200], "cannot be read as a picture by this browser"),
        (transparent(), "has transparent pixels"),
        (b"BM" + struct.pack("<IIIIIIHH", 3000058, 0, 54, 40, 1000, 1000, 1, 24) + bytes(3000024), "different sizes"),
    ],
    ids=["text", "cut", "transparent", "size"],
)
def test_what_cannot_be_compared_is_told_in_words(
    tab: browser.Page, tmp_path: Path, content: bytes, reason: str
) -> None:
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(content)
    choose(tab, EXAMPLES[0], wrong)
    tab.wait(f"{STATUS}.className === 'refused'", "it is not refused")
    assert reason in tab.run(f"{STATUS}.textContent")
    assert tab.run(f"{RESULT}.hidden")


@pytest.mark.parametrize("missing", runtime.FILES)
def test_a_page_without_its_runtime_says_so(tab: browser.Page, tmp_path: Path, missing: str) -> None:
    folder = runtime.cached()
    assert folder is not None
    for name in set(runtime.FILES) - {missing}:
        (tmp_path / name).symlink_to(folder / name)
    broken = tab.another()
    with server.server(tmp_path, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        broken.open(f"http://127.0.0.1:{running.server_address[1]}/")
        broken.wait(READY, "the page does not start")
        choose(broken, *EXAMPLES)
        broken.wait(f"{STATUS}.className === 'refused'", "it is not told")
        assert "could not be loaded" in broken.run(f"{STATUS}.textContent")
        running.shutdown()


def test_pictures_chosen_meanwhile_replace_those_that_are_compared(
    tab: browser.Page, tmp_path: Path, random_images: Any
) -> None:
    large = [saved(tmp_path / f"{i}.png", image) for i, image in enumerate(random_images(2, 700, 700, seed=7))]
    choose(tab, *large)
    found = compared(tab, *EXAMPLES)
    assert found["plain"] == pytest.approx(pim.distance(*EXAMPLES, align=False), abs=1e-5)


def test_two_pictures_can_be_dropped_at_once(tab: browser.Page) -> None:
    tab.run(f"{RESULT}.hidden = true")
    files = [f"new File([Uint8Array.from({list(path.read_bytes())})], '{path.name}')" for path in EXAMPLES]
    added = ", ".join(f"data.items.add({file})" for file in files)
    dropped = "new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data})"
    tab.run(f"var data = new DataTransfer(); {added}; document.body.dispatchEvent({dropped})")
    tab.wait(f"!{RESULT}.hidden", "dropped pictures are not compared")
    assert float(tab.run(f"{RESULT}.dataset.plain")) == pytest.approx(pim.distance(*EXAMPLES, align=False), abs=2e-6)


def test_nothing_sticks_out_and_the_theme_follows(tab: browser.Page) -> None:
    compared(tab, *EXAMPLES)
    for width, dark in ((390, False), (390, True), (1400, False), (1400, True)):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=0, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        assert tab.run("document.documentElement.scrollWidth") <= width
        paper = tab.run("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 22, 27)" if dark else "rgb(251, 251, 253)")
        assert tab.run("document.getElementById('map').getBoundingClientRect().width") >= 300


def test_the_keyboard_reaches_everything_and_shows_where_it_is(tab: browser.Page) -> None:
    compared(tab, *EXAMPLES)
    tab.run("document.activeElement.blur(), scrollTo(0, 0)")
    names = []
    for _ in range(3):
        tab.press("Tab")
        ring = "getComputedStyle(document.activeElement.closest('.slot') ?? document.activeElement).outlineStyle"
        assert tab.run(ring) == "solid"
        names.append(tab.run("document.activeElement.labels[0].innerText.split('\\n')[0].trim()"))
    assert names == ["Reference", "Distorted", "over the picture"]
    before = tab.run("document.getElementById('map').toDataURL()")
    tab.press(" ")
    assert tab.run("document.getElementById('map').toDataURL()") != before


def test_nothing_is_asked_elsewhere(tab: browser.Page, address: str) -> None:
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(address)
    tab.wait(READY, "the page does not start")
    compared(tab, *EXAMPLES)
    assert [url for url in tab.requests if not url.startswith((address, "blob:", "data:"))] == []
    assert tab.complaints == []
