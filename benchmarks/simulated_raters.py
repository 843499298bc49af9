"""A study from pictures to an exported table, with simulated raters at the real page in a real browser.

    python benchmarks/simulated_raters.py demo

Draws pictures into demo/ (crops of examples/reference.png, and three kinds of damage at two strengths), starts
`pim rate serve` on them, and lets simulated people answer in headless Chromium. They compare squared errors as seen
from far away (four pixels merge into one), with some noise: so they mind white noise less than PSNR does. One of
them, Zoe, presses keys at random. Nothing about this says anything about people.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the browser that tests drive

import browser  # noqa: E402
from rating_toys import Server, SimulatedRater  # noqa: E402

SIZE = 96  # pixels of a crop
FAR = 4
RATERS = {"Ann": 0.3, "Ben": 0.4, "Cleo": 0.5, "Zoe": 1000.0}  # and how noisy their judgement is
EVERY = 10.0  # seconds between lines of progress


def draw(folder: Path) -> list[Path]:
    """Write the pictures; returns the folder of references and those of candidates."""
    with Image.open(ROOT / "examples" / "reference.png") as opened:
        scene = opened.convert("RGB")
    folders: dict[str, Path] = {}
    corners = [(x, y) for y in range(0, scene.height - SIZE + 1, 80) for x in range(0, scene.width - SIZE + 1, 72)]
    for number, (x, y) in enumerate(corners):
        crop = scene.crop((x, y, x + SIZE, y + SIZE))
        for name, picture in {"originals": crop, **damaged(crop, number)}.items():
            folders[name] = folder / name
            folders[name].mkdir(parents=True, exist_ok=True)
            picture.save(folders[name] / f"crop{number:02}.png")
    return list(folders.values())


def damaged(crop: Image.Image, seed: int) -> dict[str, Image.Image]:
    """Damaged copies by the name of their folder."""
    rng = np.random.default_rng(seed)
    found = {}
    for level, (radius, quality, deviation) in enumerate([(0.8, 25, 12), (1.6, 10, 30)], start=1):
        jpeg = io.BytesIO()
        crop.save(jpeg, "JPEG", quality=quality)
        noisy = np.asarray(crop, float) + rng.normal(0, deviation, (SIZE, SIZE, 3))
        found[f"blur{level}"] = crop.filter(ImageFilter.GaussianBlur(radius))
        found[f"jpeg{level}"] = Image.open(io.BytesIO(jpeg.getvalue())).convert("RGB")
        found[f"noise{level}"] = Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))
    return found


def rate(server: Server, tab: browser.Page) -> None:
    """Let everyone answer until nothing is asked any more."""
    raters = [SimulatedRater(tab.another(), name, i, noise, FAR) for i, (name, noise) in enumerate(RATERS.items())]
    for rater in raters:
        rater.enter(server.address)
    told = time.monotonic()
    while not all(rater.finished for rater in raters):
        for rater in raters:
            if not rater.finished:
                rater.step()
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            print(f"answers: {sum(len(rater.given) for rater in raters)}", file=sys.stderr, flush=True)


def main() -> None:
    """Draw, serve, answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="to work in; a study in it goes on")
    asked = parser.parse_args()
    program = browser.find()
    if program is None:
        raise SystemExit("no Chromium: install one, or name it with PIM_CHROMIUM")
    folders = draw(asked.folder)
    server = Server((*folders, "--db", asked.folder / "ratings.sqlite")).start()
    try:
        with tempfile.TemporaryDirectory() as profile, browser.page(program, Path(profile)) as tab:
            rate(server, tab)
    finally:
        server.stop(signal.SIGINT)


if __name__ == "__main__":
    main()
