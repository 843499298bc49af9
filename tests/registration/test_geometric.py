"""Displacements are found where they are, to a tenth of a pixel, and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from textures import Matrix, similarity, texture
from torch import Tensor

from pim.images.made import coarse
from pim.pim.registration import Displacement, register

CASES = [
    similarity(1.0, 0.0),
    similarity(-0.5, 0.25),
    similarity(3.5, -12.25),
    similarity(turn=0.3, zoom=1.004),
    similarity(turn=-18.0),
    similarity(turn=7.0, right=14.0, zoom=0.91),
    similarity(down=-9.3, zoom=1.1),
]


def error(found: Displacement, truth: Matrix, size: tuple[int, int]) -> float:
    """The mean distance of where both take the pixels of a picture."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(float)
    a, b = np.array(found.matrix), np.array(truth)
    my, mx = (height - 1) / 2, (width - 1) / 2
    right = a[0, 0] * x + a[0, 1] * y + a[0, 2] - (b[0, 0] * (x - mx) + b[0, 1] * (y - my) + b[0, 2] + mx)
    down = a[1, 0] * x + a[1, 1] * y + a[1, 2] - (b[1, 0] * (x - mx) + b[1, 1] * (y - my) + b[1, 2] + my)
    return float(np.hypot(right, down).mean())


def find(reference: Tensor, distorted: Tensor) -> Displacement:
    (found,) = register(reference[None], distorted[None])
    return found


@pytest.mark.parametrize("size", [(160, 256), (101, 135), (64, 64)])
@pytest.mark.parametrize("truth", CASES)
def test_a_displacement_is_found_to_a_tenth_of_a_pixel(truth: Matrix, size: tuple[int, int]) -> None:
    found = find(texture(*size, through=truth), texture(*size))
    assert found.reason is None
    assert error(found, truth, size) < 0.1


@pytest.mark.parametrize("truth", [similarity(50.0, -20.4), similarity(-41.3, 14.0, turn=9.0, zoom=1.05)])
def test_a_large_displacement_is_found(truth: Matrix) -> None:
    size = (200, 512)
    found = find(texture(*size, through=truth), texture(*size))
    assert error(found, truth, size) < 0.1
    assert found.shift == pytest.approx((truth[0][2], truth[1][2]), abs=0.1)


def test_shift_turn_zoom_corners_and_overlap_are_those_of_the_warp() -> None:
    truth = similarity(4.0, -2.0, turn=3.0, zoom=1.02)
    found = find(texture(160, 200, through=truth), texture(160, 200))
    assert found.turn == pytest.approx(3.0, abs=0.02)
    assert found.zoom == pytest.approx(2.0, abs=0.03)
    corner = np.array([-99.5, -79.5])
    expected = np.array(truth)[:, :2] @ corner + [4.0, -2.0] - corner
    assert found.corners[0] == pytest.approx(tuple(expected), abs=0.1)
    straight = find(texture(160, 200, through=similarity(20.0)), texture(160, 200))
    assert straight.pixels == pytest.approx(20.0, abs=0.05)
    assert straight.overlap == pytest.approx(0.9, abs=0.01)


def distortions(image: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(image.shape, generator=generator)
    wide = F.interpolate(torch.randn(1, 3, 60, 80, generator=generator), size=image.shape[-2:], mode="bicubic")[0]
    return {
        "identical": image,
        "noise": (image + 0.1 * noise).clamp(0, 1),
        "noise of some pixels' width": (image + 0.08 * wide).clamp(0, 1),
        "blur": F.avg_pool2d(F.pad(image, (3, 3, 3, 3), mode="replicate"), 7, 1),
        "cosines": coarse(image[None])[0],
        "contrast": image * 0.5 + 0.25,
        "brighter": (image + 0.15).clamp(0, 1),
        "gamma": image**1.8,
        "gray": image.mean(0, keepdim=True).expand(3, -1, -1),
        "an eighth of the light": image / 8,
        "a box": F.pad(image[:, 20:], (0, 0, 20, 0)),
    }


@pytest.mark.parametrize("kind", distortions(torch.rand(3, 96, 96)))
def test_what_is_not_displaced_stays_exactly_where_it_is(kind: str) -> None:
    image = texture(240, 320, seed=3)
    found = find(image, distortions(image)[kind])
    assert found.reason is not None
    assert found.matrix == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    assert (found.pixels, found.turn, found.zoom, found.overlap) == (0.0, 0.0, 0.0, 1.0)


def test_less_than_a_tenth_of_a_pixel_is_no_displacement() -> None:
    found = find(texture(160, 200, through=similarity(0.05)), texture(160, 200))
    assert found.reason == "not displaced"


@pytest.mark.parametrize("size", [(128, 192), (32, 32), (32, 400)])
def test_what_shows_something_else_is_not_moved(size: tuple[int, int]) -> None:
    image = texture(*size)
    others = [
        texture(*size, seed=9),
        torch.rand(3, *size, generator=torch.Generator().manual_seed(0)),
        torch.full((3, *size), 0.5),
        1 - image,
    ]
    for other in others:
        for pair in ((image, other), (other, image), (other, other)):
            found = find(*pair)
            assert found.reason is not None
            assert found.pixels == 0


def test_a_mirrored_picture_is_not_moved() -> None:
    image = texture(160, 200)
    assert find(image, image.flip(-1)).reason == "they show different things"


def test_what_overlaps_by_less_than_half_is_not_moved() -> None:
    found = find(texture(128, 192, through=similarity(115.0)), texture(128, 192))
    assert found.reason is not None


def test_a_displacement_is_found_under_other_distortions() -> None:
    truth, size = similarity(5.3, -2.2, turn=1.5), (160, 256)
    reference = texture(*size, through=truth)
    for kind, distorted in distortions(texture(*size)).items():
        if kind not in ("an eighth of the light", "a box"):
            found = find(reference, distorted)
            assert found.reason is None, kind
            assert error(found, truth, size) < 0.25, kind


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 300), (300, 34)])
def test_small_and_narrow_pictures_are_registered(size: tuple[int, int]) -> None:
    truth = similarity(2.3, -1.4, turn=2.0)
    found = find(texture(*size, through=truth), texture(*size))
    assert error(found, truth, size) < 0.15


def test_a_pair_has_the_displacement_it_has_alone() -> None:
    truths = [similarity(), similarity(8.0, 3.0), similarity(turn=12.0), similarity(), similarity(0.6, -0.4)]
    reference = torch.stack([texture(96, 140, seed=i, through=t) for i, t in enumerate(truths)])
    distorted = torch.stack([texture(96, 140, seed=i) for i in range(len(truths))])
    together = register(reference, distorted)
    for i, found in enumerate(together):
        (alone,) = register(reference[i : i + 1], distorted[i : i + 1])
        assert found.reason == alone.reason
        np.testing.assert_allclose(found.matrix, alone.matrix, atol=1e-3)


def test_precision_of_the_pictures_does_not_matter() -> None:
    reference, distorted = texture(96, 140, through=similarity(4.0)), texture(96, 140)
    exact = find(reference, distorted)
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, 0.05)):
        found = find(reference.to(dtype), distorted.to(dtype))
        np.testing.assert_allclose(found.shift, exact.shift, atol=tolerance)


def test_the_displacement_back_is_the_inverse() -> None:
    a, b = texture(128, 160, through=similarity(6.0, turn=4.0)), texture(128, 160)
    there, back = (np.vstack([find(*pair).matrix, [0, 0, 1]]) for pair in ((a, b), (b, a)))
    np.testing.assert_allclose(there @ back, np.eye(3), atol=0.1)


def kodak(shared: Path, name: str) -> Tensor:
    with Image.open(shared / "data" / "kodak" / name) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


@pytest.mark.development_data
def test_whole_pixels_and_turns_are_found_on_photographs(shared: Path) -> None:
    photo = kodak(shared, "kodim08.png")
    whole = find(photo[:, 60:444, 130:642], photo[:, 53:437, 80:592])
    assert whole.shift == pytest.approx((50.0, 7.0), abs=0.02)
    assert math.hypot(whole.turn, whole.zoom) < 0.01
    turned = find(photo[:, 60:444, 130:642], photo.rot90(2, (1, 2))[:, 60:444, 130:642])
    assert turned.reason == "they show different things"


@pytest.mark.development_data
@pytest.mark.parametrize("truth", [similarity(1.3, -0.6), similarity(-31.7, 22.4, turn=17.0, zoom=0.95)])
def test_photographs_agree_with_the_ecc_of_opencv(shared: Path, truth: Matrix) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV, whose registration ours is compared with, is not installed")
    photo = np.ascontiguousarray(kodak(shared, "kodim13.png").permute(1, 2, 0).numpy())
    height, width = photo.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.array(truth)
    matrix[:, 2] += middle - matrix[:, :2] @ middle
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(photo, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    pair = [picture[80:400, 100:600] for picture in (moved, photo)]
    found = find(*(torch.from_numpy(p).permute(2, 0, 1).clamp(0, 1) for p in pair))
    gray = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pair]
    start = np.array(found.matrix, np.float32)
    start[:, 2] += 0.4  # let it find its own way
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
    _, theirs = cv2.findTransformECC(gray[0], gray[1], start, cv2.MOTION_AFFINE, criteria, None, 3)
    ends = np.array([[0, 0, 1], [499, 0, 1], [0, 319, 1], [499, 319, 1]], float).T
    apart = np.linalg.norm((np.array(found.matrix) - theirs) @ ends, axis=0)
    assert apart.max() < 0.1
