"""BD-rate: published comparisons, closed forms, and curves that cannot be compared."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from pim.errors import InputError
from pim.eval.bd_rate import Curve, bd_rate

JOINT, SCALE, MEAN_SCALE = "minnen-2018-neurips-opt-mse", "balle-2018-iclr-opt-mse", "minnen-2018-neurips-no-context"
PUBLISHED = [  # reference, test, column: percent of bits by cubic, PCHIP, Akima, on the published points of Kodak
    (SCALE, JOINT, "psnr_rgb", -15.73, -15.53, -15.53),
    ("jpeg420", JOINT, "psnr_rgb", -59.68, -58.92, -58.92),
    ("bpg444", JOINT, "psnr_rgb", -8.98, -8.12, -8.13),
    ("webp", JOINT, "psnr_rgb", -41.36, -41.12, -41.12),
    ("j2k-kdu5", JOINT, "psnr_rgb", -43.00, -43.07, -43.08),
    ("j2k-opj5", JOINT, "psnr_rgb", -34.80, -34.70, -34.70),
    (SCALE, MEAN_SCALE, "psnr_rgb", -10.08, -9.76, -9.87),
    (MEAN_SCALE, JOINT, "psnr_rgb", -4.85, -4.71, -4.64),
    ("balle-2017-iclr-opt-mse", SCALE, "psnr_rgb", -18.37, -18.26, -18.26),
    (JOINT, "minnen-2020-icip", "psnr_rgb", -8.51, -8.69, -8.67),
    ("bpg420", JOINT, "psnr_rgb", -15.64, None, None),
    ("bpg420", JOINT, "psnr_y", 4.39, None, None),
    ("bpg444", JOINT, "psnr_y", -2.70, None, None),
]
FACTORISED, HYPERPRIOR = "compressai-bmshj2018-factorized_mse_cuda", "compressai-bmshj2018-hyperprior_mse_cuda"
MEAN, CONTEXT = "compressai-mbt2018-mean_mse_cuda", "compressai-mbt2018_mse_cuda"
X265 = "bpg_444_x265_ycbcr"
COMPRESSAI = [  # by cubic, RGB PSNR
    (FACTORISED, HYPERPRIOR, -21.15),
    (FACTORISED, MEAN, -26.70),
    (FACTORISED, CONTEXT, -33.09),
    (FACTORISED, "compressai-cheng2020-attn_mse_cuda", -38.46),
    (HYPERPRIOR, CONTEXT, -14.31),
    (X265, CONTEXT, -11.53),
    ("jpeg", CONTEXT, -61.27),
    (X265, "vtm", -18.07),
]


@pytest.fixture(scope="session")
def stored(shared: Path):
    """`stored("tfc", codec, column)`: a published curve."""

    def curve(table: str, codec: str, column: str = "psnr_rgb") -> Curve:
        with (shared / "data" / "rd_kodak" / f"{table}_kodak.csv").open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["codec"] == codec and row[column]]
        return Curve.through(codec, [float(r["bpp"]) for r in rows], [float(r[column]) for r in rows])

    return curve


@pytest.mark.development_data
@pytest.mark.parametrize(("reference", "test", "column", "cubic", "pchip", "akima"), PUBLISHED)
def test_published_comparisons_come_out_within_two_hundredths(
    stored, reference, test, column, cubic, pchip, akima
) -> None:
    found = bd_rate(*(stored("tfc", codec, column) for codec in (reference, test)))
    assert found.cubic == pytest.approx(cubic, abs=0.02)
    for value, expected in ((found.pchip, pchip), (found.akima, akima)):
        assert expected is None or value == pytest.approx(expected, abs=0.02)


@pytest.mark.development_data
@pytest.mark.parametrize(("reference", "test", "cubic"), COMPRESSAI)
def test_comparisons_of_compressai_come_out_within_two_hundredths(stored, reference, test, cubic) -> None:
    assert bd_rate(stored("compressai", reference), stored("compressai", test)).cubic == pytest.approx(cubic, abs=0.02)


@pytest.mark.development_data
@pytest.mark.parametrize(("reference", "low", "high"), [(SCALE, 27.11, 40.79), ("bpg444", 26.80, 45.07)])
def test_the_interval_is_what_both_curves_reach(stored, reference, low, high) -> None:
    found = bd_rate(stored("tfc", reference), stored("tfc", JOINT))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


RATE = np.array([0.1, 0.2, 0.35, 0.7, 1.1])
QUALITY = np.array([26.0, 29.0, 31.5, 35.0, 37.0])


def test_a_codec_that_always_needs_a_fifth_less_is_at_minus_twenty() -> None:
    found = bd_rate(Curve.through("a", RATE, QUALITY), Curve.through("b", 0.8 * RATE, QUALITY))
    assert [found.pchip, found.akima, found.cubic] == pytest.approx([-20.0] * 3)
    back = bd_rate(Curve.through("b", 0.8 * RATE, QUALITY), Curve.through("a", RATE, QUALITY))
    assert back.pchip == pytest.approx(25.0)
    assert found.notes == ()


def test_curves_that_are_cubics_have_a_closed_form() -> None:
    quality = np.linspace(0, 1, 7)
    one, other = (Curve.through(str(a), np.exp(a * quality**3), quality) for a in (1.0, 2.0))
    assert bd_rate(one, other).cubic == pytest.approx(100 * math.expm1(1 / 4))  # mean of q^3 on [0, 1]
    shifted = Curve.through("c", np.exp(3 * (quality + 0.5) ** 3), quality + 0.5)
    mean_cube = (1 - 0.5**4) / 4 / 0.5  # of q^3 on [0.5, 1]
    assert bd_rate(one, shifted).cubic == pytest.approx(100 * math.expm1(2 * mean_cube))


def test_straight_lines_agree_whatever_the_interpolation() -> None:
    one = Curve.through("a", [1.0, math.e], [0.0, 1.0])
    found = bd_rate(one, Curve.through("b", [1.0, math.e**2, math.e**4], [0.0, 1.0, 2.0]))
    assert [found.pchip, found.akima] == pytest.approx([100 * math.expm1(0.5)] * 2)
    assert math.isnan(found.cubic)
    assert "a has only 2 points" in found.notes


def test_points_are_sorted_and_those_that_do_not_rise_are_dropped_and_told() -> None:
    curve = Curve.through("b", [0.7, 0.1, 0.2, 0.2, 0.3, 1.1], [35.0, 26.0, 29.0, 28.0, 28.5, 37.0])
    assert curve.rate.tolist() == [0.1, 0.2, 0.7, 1.1]
    assert curve.quality.tolist() == [26.0, 29.0, 35.0, 37.0]
    found = bd_rate(Curve.through("a", RATE, QUALITY), curve)
    assert any("2 points of b do not rise" in note for note in found.notes)


def test_a_small_overlap_is_told() -> None:
    found = bd_rate(Curve.through("a", RATE, QUALITY), Curve.through("b", RATE, QUALITY + 9))
    assert "only 18 % of the quality range of a is compared" in found.notes


@pytest.mark.parametrize(
    ("rate", "quality", "message"),
    [
        ([0.1, 0.2], [30.0, 29.0], "needs two points that rise"),
        ([0.0, 0.2], [30.0, 31.0], "rate 0 and quality 30"),
        ([0.1, 0.2], [30.0, math.inf], "needs two points that rise in rate and quality; 1 is left"),
        ([0.1, 0.2], [30.0, -math.inf], "quality -inf"),
        ([0.1, 0.2], [math.nan, 30.0], "quality nan"),
    ],
)
def test_what_is_no_curve_is_refused(rate, quality, message) -> None:
    with pytest.raises(InputError, match=f"^odd: .*{message}"):
        Curve.through("odd", rate, quality)


def test_curves_without_common_quality_are_refused() -> None:
    with pytest.raises(InputError, match="no quality in common: a from 26 to 37 and b from 46 to 57"):
        bd_rate(Curve.through("a", RATE, QUALITY), Curve.through("b", RATE, QUALITY + 20))


def test_points_without_loss_and_interpolations_that_fall_are_told() -> None:
    saturated = Curve.through("s", [0.1, 0.2, 0.4], [20.0, 25.0, math.inf])
    assert (saturated.endless, saturated.dropped, len(saturated.rate)) == (1, 0, 2)
    plain = Curve.through("p", [0.1, 0.3], [20.0, 26.0])
    assert any("1 points of s have no loss" in note for note in bd_rate(plain, saturated).notes)
    odd = Curve.through("o", [0.1, 0.100001, 5.0, 5.00001, 5.00002], [20.0, 30.0, 30.01, 40.0, 50.0])
    even = Curve.through("e", [0.1, 0.2, 0.4, 0.8], [20.0, 30.0, 40.0, 50.0])
    notes = " ".join(bd_rate(even, odd).notes)
    assert "cubic does not rise everywhere" in notes
    assert "interpolations differ" in notes
