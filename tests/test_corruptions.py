"""Corruptions against published outputs of the original program, and the properties of their random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pim.datasets import corruptions
from pim.datasets.corruptions import GROUPS, SEVERITIES, Recipe, apply, corrupt, draw, generator, names
from pim.datasets.corruptions.constants import IMAGENET_C, TINY_IMAGENET_C
from pim.datasets.corruptions.digital import apply_elastic
from pim.datasets.corruptions.noise import apply_shot
from pim.datasets.corruptions.spatter import canny_edges, chamfer_distance, equalised
from pim.datasets.corruptions.weather import plasma
from pim.errors import DataError, InputError, UsageError

Arrays = Mapping[str, np.ndarray[Any, Any]]
Golden = Callable[[str], Arrays]
TINY = Recipe("tiny-imagenet-c")
FIRST_FOG = 0.13026985679891256

EXACT = ("gaussian_blur", "zoom_blur", "brightness", "saturate", "contrast", "pixelate")
# Largest share of values that may be one level off; nothing may be two levels off.
DETERMINISTIC = [(n, 0.0) for n in EXACT] + [("defocus_blur", 0.15), ("motion_blur", 0.005)]


@pytest.fixture
def published(golden: Golden) -> Arrays:
    return golden("imagenet_c_deterministic")


@pytest.fixture
def drawn(golden: Golden) -> Arrays:
    return golden("imagenet_c_draws")


@pytest.fixture
def picture(published: Arrays) -> np.ndarray[Any, Any]:
    """An oblong part with odd sides."""
    return np.ascontiguousarray(published["image224"][20:85, 10:99])


def assert_close(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any], share: float, levels: int = 1) -> None:
    difference = np.abs(got.astype(int) - want.astype(int))
    assert got.dtype == np.uint8
    assert difference.max() <= levels
    assert (difference > 0).mean() <= share


@pytest.mark.parametrize(("name", "share"), DETERMINISTIC)
def test_deterministic_corruptions_are_the_published_ones(published: Arrays, name: str, share: float) -> None:
    for severity in SEVERITIES:
        angle = np.array(published["motion_blur_angle_deg"][severity - 1])
        params = {"angle": angle} if name == "motion_blur" else {}
        assert_close(apply(published["image64"], name, severity, params), published[f"{name}_64"][severity - 1], share)
        large = apply(published["image224"], name, severity, params)
        assert_close(large[1::3, 1::3], published[f"{name}_224"][severity - 1], share)
        for statistic in ("mean", "std"):
            got = getattr(large.astype(np.float64), statistic)(axis=(0, 1))
            assert got == pytest.approx(published[f"{name}_224_{statistic}"][severity - 1], abs=0.15)


def test_jpeg_compression_is_the_published_one_up_to_the_codec(published: Arrays) -> None:
    for severity in SEVERITIES:
        got = apply(published["image64"], "jpeg_compression", severity, {})
        assert_close(got, published["jpeg_compression_64"][severity - 1], share=0.05, levels=255)


def test_motion_blur_follows_imagemagick_at_every_angle(drawn: Arrays) -> None:
    for angle, want in zip(drawn["motion_angles_deg"], drawn["motion_severity3"], strict=True):
        assert_close(apply(drawn["image"], "motion_blur", 3, {"angle": np.array(angle)}), want, share=0.005)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_weather_and_glass_with_given_draws_are_the_published_ones(drawn: Arrays, severity: int) -> None:
    row, column = drawn["frost_origin_yx"]
    params = {
        "glass_blur": {"offsets": drawn[f"glass_dxdy_s{severity}"]},
        "snow": {"z": drawn["z"].astype(np.float64), "angle": np.array(-108.0)},
        "frost": {"overlay": drawn["frost_overlay_rgb"][row : row + 64, column : column + 64]},
        "fog": {"fog": plasma(drawn["u"].astype(np.float64), 64, IMAGENET_C["fog"][severity - 1][1])},
        "spatter": {"z": drawn["z"].astype(np.float64)},
    }
    for name, given in params.items():
        share = {"snow": 0.01, "spatter": 0.001}.get(name, 0.0)
        assert_close(apply(drawn["image"], name, severity, given), drawn[name][severity - 1], share)


def test_plasma_is_the_published_one(drawn: Arrays) -> None:
    uniforms = drawn["u"].astype(np.float64)
    for decay in ("2", "1.7", "1.5", "1.4", "3"):
        assert np.abs(plasma(uniforms, 64, float(decay)) - drawn[f"plasma_64_decay{decay}"]).max() < 1e-7


def test_elastic_transform_with_given_draws_is_the_published_one(drawn: Arrays) -> None:
    u = 2 * drawn["u"].astype(np.float64) - 1
    fields = u[6 : 6 + 2 * 64 * 64].reshape(2, 64, 64)
    params = {"corners": u[:6].reshape(3, 2), "dx": fields[0], "dy": fields[1]}
    for constants, want in zip(IMAGENET_C["elastic_transform"], drawn["elastic_transform"], strict=True):
        assert_close(apply_elastic(drawn["image"], constants, params), want, share=0.002)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise"])
def test_noise_has_the_published_statistics(drawn: Arrays, name: str) -> None:
    gray = np.full((512, 512, 3), 128, dtype=np.uint8)
    for severity, (mean, std, black, white) in zip(SEVERITIES, drawn[f"gray128_stats_{name}"], strict=True):
        noisy = corrupt(gray, name, severity, stem="gray")
        assert noisy.mean() == pytest.approx(mean, abs=0.5)
        assert noisy.std() == pytest.approx(std, rel=0.01)
        assert (noisy == 0).mean() == pytest.approx(black, abs=2e-3)
        assert (noisy == 255).mean() == pytest.approx(white, abs=2e-3)


def test_shot_noise_counts_photons_as_a_poisson_distribution_does() -> None:
    image = np.array([[[0, 51, 255]]], dtype=np.uint8)
    u = np.array([[[0.999, 0.6, 0.5]]])
    # Mean 0: always dark. Mean 1: P(0) = .368, P(<= 1) = .736. Mean 5: P(<= 4) = .440, P(<= 5) = .616.
    assert apply_shot(image, (5,), {"u": u}).tolist() == [[[0, 51, 255]]]


def test_every_corruption_keeps_shape_and_type_and_changes_an_oblong_picture(picture: np.ndarray[Any, Any]) -> None:
    for recipe in (corruptions.PUBLISHED, TINY):
        for name in names(recipe):
            for severity in (1, 5):
                got = corrupt(picture, name, severity, stem="a", recipe=recipe)
                assert got.shape == picture.shape
                assert got.dtype == np.uint8
                assert (got != picture).any() or (name, severity) == ("glass_blur", 1), (name, severity)


def test_all_nineteen_corruptions_are_there_with_their_groups() -> None:
    assert len(names()) == 19
    assert [list(GROUPS.values()).count(group) for group in ("noise", "blur", "weather", "digital", "extra")] == [
        3,
        4,
        5,  # one frost more
        4,
        4,
    ]
    assert set(TINY_IMAGENET_C) == set(IMAGENET_C) - {"snow", "spatter"}


def test_results_depend_on_seed_name_corruption_and_severity_alone() -> None:
    base = generator(0, "a", "fog", 1).random(4).tolist()
    assert generator(0, "a", "fog", 1).random(4).tolist() == base
    for other in [(1, "a", "fog", 1), (0, "b", "fog", 1), (0, "a", "snow", 1), (0, "a", "fog", 2)]:
        assert generator(*other).random(4).tolist() != base
    # The first of these numbers, once and for all: pictures made yesterday must be made again tomorrow.
    assert base[0] == pytest.approx(FIRST_FOG, abs=1e-15)


def test_worse_severities_differ_more_for_monotone_corruptions(picture: np.ndarray[Any, Any]) -> None:
    monotone = ("gaussian_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "zoom_blur", "contrast")
    for name in (*monotone, "brightness"):
        made = [corrupt(picture, name, severity, stem="a").astype(float) for severity in SEVERITIES]
        errors = [np.mean((image - picture) ** 2) for image in made]
        assert errors == sorted(errors), name


def test_elastic_transform_scales_its_lengths_with_the_picture(published: Arrays) -> None:
    small, large = (
        draw("elastic_transform", 1, (side, side), generator(0, "a", "elastic_transform", 1)) for side in (56, 224)
    )
    assert np.array_equal(small["corners"], large["corners"])
    image = published["image224"][:56, :56]
    by_hand = apply_elastic(image, tuple(c / 4 for c in IMAGENET_C["elastic_transform"][0]), small)
    assert np.array_equal(apply(image, "elastic_transform", 1, small), by_hand)


def test_frost_takes_a_part_of_a_published_picture(tmp_path: Path, picture: np.ndarray[Any, Any]) -> None:
    for number in range(1, 7):
        noise = np.full((100, 120, 3), 20 * number, dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"frost{number}.png")
    recipe = Recipe(frost=tmp_path)
    assert "frost" in names(recipe)
    shown = {
        int(draw("frost", 1, (65, 89), generator(seed, "a", "frost", 1), recipe)["overlay"][0, 0, 0])
        for seed in range(60)
    }
    assert shown == {20, 40, 60, 80, 100}  # never the sixth, as published
    enlarged = draw("frost", 1, (300, 200), generator(0, "a", "frost", 1), recipe)["overlay"]
    assert enlarged.shape == (300, 200, 3)


def test_frost_without_its_pictures_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frost_synthetic does without"):
        draw("frost", 1, (64, 64), generator(0, "a", "frost", 1))
    with pytest.raises(DataError, match="six published frost pictures"):
        draw("frost", 1, (64, 64), generator(0, "a", "frost", 1), Recipe(frost=tmp_path))


def test_what_cannot_be_corrupted_is_refused(picture: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UsageError, match="did you mean 'snow'"):
        corrupt(picture, "snov", 1, stem="a")
    with pytest.raises(UsageError, match="severity must be 1 to 5; got 6"):
        corrupt(picture, "snow", 6, stem="a")
    with pytest.raises(InputError, match="at least 32 pixels; got 89 x 31"):
        corrupt(picture[:31], "snow", 1, stem="a")
    with pytest.raises(InputError, match="8-bit of shape"):
        apply(picture / 255, "contrast", 1, {})
    with pytest.raises(UsageError, match="unknown table of corruptions"):
        corrupt(picture, "snow", 1, stem="a", recipe=Recipe("imagenet"))
    with pytest.raises(UsageError, match="unknown corruption 'snow'"):
        corrupt(picture, "snow", 1, stem="a", recipe=TINY)


def test_chamfer_distance_adds_up_moves_and_ends_at_twenty() -> None:
    edges = np.zeros((40, 60), dtype=bool)
    edges[5, 5] = True
    distance = chamfer_distance(edges)
    assert distance[5, 5] == 0
    assert distance[5, 12] == 7
    assert distance[8, 8] == pytest.approx(3 * 1.4, abs=1e-4)
    assert distance[6, 7] == pytest.approx(2.1969, abs=1e-4)
    assert distance[9, 12] == pytest.approx(3 * 2.1969 + 1.4, abs=1e-4)
    assert distance[39, 59] == 20


def test_canny_draws_a_thin_line_along_a_step_and_continues_it_where_it_is_weak() -> None:
    step = np.zeros((12, 20), dtype=np.uint8)
    step[:6, 10:] = 60  # slope 4 * 60 > high
    step[6:, 10:] = 20  # slope 4 * 20: between low and high, joined to the strong part
    edges = canny_edges(step, 50, 150)
    assert edges[:5].sum(axis=1).tolist() == [1] * 5
    assert edges[8:].sum(axis=1).tolist() == [1] * 4
    assert not canny_edges(np.minimum(step, 20), 50, 150).any()


def test_equalisation_spreads_values_over_the_whole_range() -> None:
    image = np.array([[10, 10, 11, 12]], dtype=np.uint8)
    assert equalised(image).tolist() == [[0, 0, 128, 255]]
    assert equalised(np.full((2, 2), 7, dtype=np.uint8)).tolist() == [[7, 7], [7, 7]]
