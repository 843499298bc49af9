"""Data sets with pictures that are stored lying and say so: as the opener reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Ran
from PIL import Image

from pim.datasets import table
from pim.datasets.pictures import check_pictures
from pim.images.opener import open_image

ORIENTATION = 274
KINDS = [(1, "jpg"), (3, "jpg"), (5, "jpg"), (6, "jpg"), (6, "png"), (6, "tif")]
BACK = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90}


def stored(path: Path, picture: Image.Image, orientation: int) -> None:
    """Write a picture turned, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lying = picture.transpose(BACK[orientation]) if orientation in BACK else picture
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    lying.save(path, exif=exif, **options)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """A table of six pictures of one photo, 60 x 40, all but one stored in some turned way."""
    coarse = np.random.default_rng(3).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((60, 40), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    lines = ["reference,distorted,score"]
    for number, (orientation, ending) in enumerate(KINDS):
        stored(tmp_path / f"{number}.{ending}", photo, orientation)
        lines.append(f"photo.png,{number}.{ending},{number}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    return tmp_path / "ratings.csv"


@pytest.mark.parametrize("decode", [False, True])
def test_the_size_that_is_looked_at_is_that_of_the_upright_picture(ratings: Path, decode: bool) -> None:
    dataset = check_pictures(table.read(ratings, higher_is_better=False), decode=decode)
    assert [finding.text for finding in dataset.findings] == ["sizes of pictures: 60 x 40 (7)"]
    assert {open_image(path).pixels.shape for path in ratings.parent.glob("[0-9].*")} == {(40, 60, 3)}


def test_turned_pictures_are_scored_upright(cli: Callable[..., Ran], ratings: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.csv"
    ran = cli(
        *("eval", "table", ratings, "--lower-is-better", "-m", "psnr", "--run", tmp_path / "run", "--quiet"),
        *("--draws", 100, "--values", values),
    )
    assert ran.code == 0, ran.err
    found = [float(line.split(",")[8]) for line in values.read_text().splitlines()[1:]]
    assert len(found) == 6
    assert min(found) > 25  # a picture lying on its side would be below 15 dB
