"""What `docs/tutorial-codecs.md` shows: its commands, run on photographs that Pillow has coded.

    python benchmarks/story_codecs.py kodak/ -o benchmarks/results/story_codecs.json

`mine` is JPEG 2000, which stands for anybody's codec.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from timing import setting

from ntc.rd import ANCHORS

CODED: dict[str, tuple[str, str, tuple[int, ...]]] = {  # name, encoder, ending, settings
    "jpeg": ("jpeg", ".jpg", (30,)),
    "webp": ("webp", ".webp", (30,)),
    "avif": ("avif", ".avif", (50,)),
    "mine": ("jpeg2000", ".jp2", (28, 31, 34, 37)),
}
SCORE = "pim score originals/ jpeg30/ webp30/ avif50/ mine28/ -m pim -m psnr"
CURVES = "pim ntc rd originals/ --files mine=mine{setting}/{name}.* --anchor jpeg --anchor webp --anchor avif"


def write_folders(photos: Sequence[Path], folder: Path) -> None:
    """Write originals/, jpeg30/, webp30/, avif50/, mine28/, mine31/, mine34/ and mine37/ into a folder."""
    for photo in photos:
        with Image.open(photo) as opened:
            picture = np.asarray(opened.convert("RGB"))
        _write(folder / "originals" / f"{photo.stem}.png", photo.read_bytes())
        for name, (anchor, ending, settings) in CODED.items():
            for value in settings:
                stream, _ = ANCHORS[anchor].code(picture, str(value))
                _write(folder / f"{name}{value}" / f"{photo.stem}{ending}", stream)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def _run(command: str, folder: Path, target: Path) -> dict[str, object]:
    """The JSON that a command writes."""
    words = [sys.executable, "-m", "pim", *command.split()[1:], "-o", str(target)]
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(words, cwd=folder, env=paths, check=True)
    found: dict[str, object] = json.loads(target.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Make the folders, run both commands, keep what they conclude."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of .png photographs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    photos = sorted(given.photos.glob("*.png"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folders(photos, folder)
        score = _run(SCORE, folder, folder / "scores.json")
        rate = _run(f"{CURVES} -m pim -m psnr", folder, folder / "curves.json")
    kept = {key: score[key] for key in ("candidates", "comparisons")} | {
        key: rate[key] for key in ("bd_rate", "conclusions")
    }
    document = {**setting(photographs=[photo.name for photo in photos]), "commands": [SCORE, CURVES], **kept}
    given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
