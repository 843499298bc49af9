"""Maps as pictures: even colours, a true scale, what lies where."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pim.images.heatmap import colour, draw, sheet, ticks


def lightness(colours: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """CIE L* of sRGB colours (N, 3) in [0, 1], by its definition."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_equal_steps_of_value_are_about_equal_steps_of_lightness() -> None:
    steps = np.diff(lightness(colour(np.linspace(0, 1, 21))))
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.4 * steps.mean()


def test_levels_outside_are_cut() -> None:
    assert (colour(np.array([-1.0, 2.0])) == colour(np.array([0.0, 1.0]))).all()


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_ticks_are_three_to_nine_round_values_within_the_scale(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert 3 <= len(found) <= 9
    assert found == sorted(set(found))
    slack = 1e-6 * span + 1e-9 * abs(high)
    assert low - slack <= found[0]
    assert found[-1] <= high + slack


def test_the_brightest_colour_stands_where_the_value_is_largest() -> None:
    values = np.zeros((300, 400))
    values[100:110, 300:320] = 2.0
    picture = np.asarray(draw(values, 0, 2, "caption")).astype(int)
    brightest = np.round(255 * colour(np.array([1.0]))[0])
    rows, columns = np.nonzero((picture == brightest).all(2))
    in_map = columns < 14 + 400 + 10
    assert (rows[in_map].min(), rows[in_map].max()) == (42 + 100, 42 + 109)
    assert (columns[in_map].min(), columns[in_map].max()) == (14 + 300, 14 + 319)


def test_the_bar_runs_from_the_lowest_colour_below_to_the_highest_above() -> None:
    picture = np.asarray(draw(np.full((300, 400), 0.5), 0, 1, "x")) / 255
    column = picture[42:342, 14 + 400 + 14 + 5]
    assert np.abs(column - colour(np.linspace(1, 0, 300))).max() < 0.01


def test_small_maps_are_enlarged_by_whole_pixels() -> None:
    picture = draw(np.eye(32), 0, 1, "x")
    assert min(picture.size) >= 256
    inner = np.asarray(picture)[42 : 42 + 256, 14 : 14 + 256, 0]
    assert ((inner > 128) == np.kron(np.eye(32), np.ones((8, 8))).astype(bool)).all()


def test_an_overlay_shows_the_picture_where_the_map_is_low_and_the_colour_where_it_is_high() -> None:
    values = np.zeros((256, 256))
    values[:, 128:] = 1.0
    over = np.zeros((256, 256, 3))
    over[::2] = 1.0
    picture = np.asarray(draw(values, 0, 1, "x", over=over))[42 : 42 + 256, 14 : 14 + 256] / 255
    assert np.ptp(picture[:, :128, 1]) > 0.7
    assert np.abs(picture[:, 128:] - colour(np.array([1.0]))).max() < 0.01


@pytest.mark.parametrize("size", [(64, 64), (600, 400), (1200, 2400)])
def test_the_caption_and_the_labels_are_inside_and_dark_on_white(size: tuple[int, int]) -> None:
    picture = draw(np.zeros(size), 0, 0.000123, "a caption that is longer than a small picture, lower is closer")
    edge = np.asarray(picture.convert("L"))
    assert edge[:, -3:].min() == edge[:3].min() == 255
    labels = edge[:, -60:]
    assert labels.min() < 100


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (5, 2, 3), (15, 4, 4)])
def test_a_sheet_has_room_for_every_picture(count: int, rows: int, columns: int) -> None:
    pictures = [PIL.Image.new("RGB", (10 + number % 2, 7), (number, 0, 0)) for number in range(count)]
    whole = sheet(pictures)
    width = 11 if count > 1 else 10
    assert whole.size == (columns * width, rows * 7)
    for number in range(count):
        assert whole.getpixel((number % columns * width, number // columns * 7)) == (number, 0, 0)
