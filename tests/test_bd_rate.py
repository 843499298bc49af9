"""BD-rate: published comparisons, closed forms, and curves that cannot be compared."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import published_curves
import pytest
from conftest import ROOT

from pim.errors import InputError
from pim.eval.bd_rate import Curve, bd_rate


@pytest.fixture(scope="session")
def computed(shared: Path) -> list[dict[str, Any]]:
    return published_curves.compute(shared / "data" / "rd_kodak")


@pytest.mark.development_data
def test_published_comparisons_come_out_within_two_hundredths(computed) -> None:
    for asked, row in zip(published_curves.COMPARISONS, computed, strict=True):
        for kind, known in zip(("cubic", "pchip", "akima"), asked.known, strict=True):
            assert known is None or row[kind] == pytest.approx(known, abs=0.02), (asked.about, asked.metric, kind)


@pytest.mark.development_data
def test_the_interval_is_what_both_curves_reach(computed) -> None:
    intervals = [(row["low"], row["high"]) for row in computed]
    assert intervals[0] == (27.11, 40.79)  # against the scale hyperprior
    assert intervals[2] == (26.80, 45.07)  # against BPG 4:4:4


@pytest.mark.development_data
def test_the_stored_comparisons_are_those_of_the_published_points(computed) -> None:
    stored = json.loads(published_curves.RESULTS.read_text(encoding="utf-8"))
    assert stored == computed  # rounded to 1e-4 percent


def test_the_document_shows_the_stored_comparisons() -> None:
    stored = json.loads(published_curves.RESULTS.read_text(encoding="utf-8"))
    assert published_curves.table(stored) in (ROOT / "docs" / "rate-distortion.md").read_text(encoding="utf-8")


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
