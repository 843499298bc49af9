"""Metrics on registered pictures: values that stay, values that fall, what is said, and what never gets worse."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pim
from pim.images.made import coarse, standard_picture
from pim.pim.registration import Charges
from pim.scoring.aligned import Aligned

NAMES = ("psnr", "ssim", "ms-ssim", "nlpd")


def wide() -> Tensor:
    """A texture of 200 x 240 with room around it."""
    tile = standard_picture()[0]
    return torch.cat([torch.cat([tile, tile.flip(2)], 2), torch.cat([tile, tile.flip(2)], 2).flip(1)], 1)[:, :220, :260]


def displaced() -> tuple[Tensor, Tensor]:
    """Windows of one texture, 3 pixels right and 2 down of each other."""
    whole = wide()
    return whole[:, 10:210, 10:250], whole[:, 8:208, 7:247]


def toned() -> tuple[Tensor, Tensor]:
    """The second with a quarter less contrast, and darker."""
    picture = displaced()[0]
    return picture, (picture - 0.5) * 0.75 + 0.46


def score(metric: Any, pair: tuple[Tensor, Tensor], **options: Any) -> Any:
    (found,) = pim.score([pair], metric, device="cpu", **options)
    assert not found.errors
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_is_taken_back_charged_and_told(name: str) -> None:
    plain = score(name, displaced(), align=False).values[name]
    found = score(name, displaced(), align=True)
    (value,), (change,) = found.values.values(), found.changes.values()
    better = (lambda a, b: a < b) if pim.load(name).lower_is_better else (lambda a, b: a > b)
    assert better(value, plain)
    assert better(change.left, value)  # the charge
    assert change.displacement.shift == pytest.approx((3, 2), abs=0.05)
    assert str(change).startswith("shifted by 3.0 px right and 2.0 px down")


def test_the_charge_is_in_the_metrics_own_unit() -> None:
    found = score("nlpd", displaced(), align=True)
    (value,), (change,) = found.values.values(), found.changes.values()
    metric, picture = pim.load("nlpd"), standard_picture()
    unit = float(metric(picture, coarse(picture))[0])
    assert value - change.left == pytest.approx(unit * Charges().pixel * change.displacement.pixels, rel=1e-4)


def test_less_contrast_is_taken_back_and_told() -> None:
    found = score("ms-ssim", toned(), align=True)
    (change,) = found.changes.values()
    assert change.tone.contrast == pytest.approx(0.75, abs=0.01)
    assert "contrast 25 % lower" in str(change)
    assert "darker" in str(change)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_that_lie_as_they_should_keep_their_value(name: str) -> None:
    picture = displaced()[0]
    noisy = (picture + 0.05 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    plain, aligned = (score(name, (picture, noisy), align=align) for align in (False, True))
    assert list(plain.values.values()) == list(aligned.values.values())
    assert not aligned.changes


def test_another_picture_gets_no_better_by_it() -> None:
    pair = displaced()[0], displaced()[0].flip(2)
    plain, aligned = (score("ssim", pair, align=align) for align in (False, True))
    assert list(plain.values.values()) == list(aligned.values.values())


def test_a_crop_below_the_smallest_size_is_not_compared() -> None:
    whole = wide()
    pair = whole[:, :170, :170], whole[:, 20:190, 20:190]  # 150 x 150 in common, MS-SSIM needs 161
    plain, aligned = (score("ms-ssim", pair, align=align) for align in (False, True))
    assert list(plain.values.values()) == list(aligned.values.values())


def test_batches_and_prepared_references_change_nothing() -> None:
    metric = Aligned(pim.load("nlpd"))
    first, second = (torch.stack(side) for side in zip(displaced(), toned(), strict=True))
    together = metric(first, second)
    alone = torch.stack([metric(first[i], second[i]) for i in range(2)])
    assert torch.allclose(together, alone, rtol=1e-5)  # registration rounds to some 1e-7 pixels
    assert torch.equal(metric(metric.prepare(first), second), together)


@pytest.fixture
def pair_of_files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path, pixels in zip(paths, displaced(), strict=True):
        Image.fromarray((pixels.permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)).save(path)
    return paths


def test_the_command_line_tells_it_in_all_formats(cli: Callable[..., Any], pair_of_files: tuple[Path, Path]) -> None:
    text, table, document = (
        cli("score", *pair_of_files, "-m", "ssim", "--align", "--format", form).out for form in ("text", "csv", "json")
    )
    assert "shifted by 3.0 px right and 2.0 px down; what is left" in text
    (row,) = csv.DictReader(io.StringIO(table))
    assert float(row["displacement_px"]) == pytest.approx(13**0.5, abs=0.05)
    (record,) = json.loads(document)["records"]
    assert record["metric"] == "ssim+align"
    assert record["change"]["displacement"]["zoom"] == pytest.approx(0, abs=0.1)


def test_the_pictures_that_were_compared_can_be_saved(
    cli: Callable[..., Any], pair_of_files: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = pair_of_files
    kept = tmp_path / "kept"
    cli("compare", first, second, first, "--align", "-m", "ssim", "-m", "psnr", "--save-aligned", kept)
    names = sorted(path.name for path in kept.iterdir())
    stem = "-".join(second.with_suffix("").parts[1:])
    assert names == [f"{stem}.{m}+align.{side}.png" for m in ("psnr", "ssim") for side in ("distorted", "reference")]
    record = json.loads(cli("score", *pair_of_files, "-m", "ssim", "--align", "--format", "json").out)["records"][0]
    pair = [kept / f"{stem}.ssim+align.{side}.png" for side in ("reference", "distorted")]
    assert pim.distance(*pair, "ssim") == pytest.approx(record["change"]["left"], abs=2e-3)  # rounded to 8 bits
    assert "add --align" in cli("score", *pair_of_files, "-m", "ssim", "--save-aligned", kept).err
    assert "give a file" in cli("score", first, "-", "-m", "ssim", "--align", "--save-aligned", kept).err


def test_distance_aligns_where_it_is_asked_to(pair_of_files: tuple[Path, Path]) -> None:
    plain, aligned = (pim.distance(*pair_of_files, "nlpd", align=align) for align in (False, True))
    assert aligned < plain / 2
