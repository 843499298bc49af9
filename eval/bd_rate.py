"""Bjontegaard delta rate: how many bits more or fewer a codec needs than another at equal quality, on average.

Source: Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001. Deviations: the
logarithm of the rate is interpolated through the points (PCHIP, the main number; Akima), because one cubic through
the 30 to 50 points of a whole curve is smoother than the curve is; the cubic, by least squares over all
points, stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from pim.errors import InputError

Array = NDArray[np.float64]

SMALL_OVERLAP = 0.3  # of the quality range of a curve
CUBIC_NEEDS = 4  # points
DISAGREEMENT = 5.0  # percentage points between interpolations that are worth telling
LARGEST = 1000.0  # percent that two codecs can differ by
STEPS = 257  # places at which an interpolation is looked at
ROUNDING = 1e-9
LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class Fit:
    """The logarithm of the rate by quality, between points."""

    value: Callable[[Array], Array]
    integral: Callable[[float, float], float]


@dataclass(frozen=True, eq=False)
class Curve:
    """Quality by rate, strictly rising in both."""

    name: str
    rate: Array  # > 0, such as bits per pixel
    quality: Array  # higher is better, in dB
    dropped: int = 0  # points that did not rise
    endless: int = 0  # points without loss, whose quality in dB is infinite

    @classmethod
    def through(cls, name: str, rate: Sequence[float], quality: Sequence[float]) -> Curve:
        """A curve through points in any order; one no better than another of fewer bits, or without loss, is dropped.

        Raises:
            InputError: if fewer than two points are left, a rate is not positive or a value not finite.
        """
        given = list(zip(rate, quality, strict=True))
        points = sorted((point for point in given if point[1] != math.inf), key=lambda point: (point[0], -point[1]))
        kept: list[tuple[float, float]] = []
        for r, q in points:
            if not (math.isfinite(r) and math.isfinite(q) and r > 0):
                raise InputError(f"{name}: a point has rate {r:g} and quality {q:g}; rates are above 0, both finite")
            if not kept or (r > kept[-1][0] and q > kept[-1][1]):
                kept.append((r, q))
        if len(kept) < 2:
            raise InputError(f"{name}: a curve needs two points that rise in rate and quality; {len(kept)} is left")
        rates, qualities = np.array(kept, dtype=np.float64).T
        return cls(name, rates, qualities, len(points) - len(kept), len(given) - len(points))


@dataclass(frozen=True)
class BDRate:
    """Percent of bits that a curve needs more than another at equal quality; negative is fewer."""

    pchip: float
    akima: float
    cubic: float  # NaN: fewer than four points
    low: float  # quality interval over which it is an average
    high: float
    notes: tuple[str, ...]  # what weakens it


def bd_rate(reference: Curve, test: Curve) -> BDRate:
    """How many percent more bits `test` needs than `reference`.

    100 (exp(mean over quality of ln rate_test - ln rate_reference) - 1), over the qualities that both curves
    reach.

    Raises:
        InputError: if they have no quality in common.
    """
    low = max(float(c.quality[0]) for c in (reference, test))
    high = min(float(c.quality[-1]) for c in (reference, test))
    if low >= high:
        spans = " and ".join(f"{c.name} from {c.quality[0]:.4g} to {c.quality[-1]:.4g}" for c in (reference, test))
        raise InputError(f"these curves have no quality in common: {spans}")

    fits: dict[str, Callable[[Curve], Fit]] = {"pchip": _pchip, "akima": _akima, "cubic": _cubic}
    if min(len(c.rate) for c in (reference, test)) < CUBIC_NEEDS:
        del fits["cubic"]
    fitted = {name: (fit(reference), fit(test)) for name, fit in fits.items()}
    found = {name: _percent(*both, low, high) for name, both in fitted.items()}
    notes = [f"{name} does not rise everywhere" for name, both in fitted.items() if _falls(both, low, high)]
    spread = max(found.values()) - min(found.values())
    if spread > DISAGREEMENT:
        notes.append(f"the interpolations differ by {spread:.0f} points of percent: look at the points")
    if found["pchip"] > LARGEST:
        notes.append("no codecs differ so much: look at the points")
    everything = (*_notes(reference, test, low, high), *notes)
    return BDRate(found["pchip"], found["akima"], found.get("cubic", math.nan), low, high, everything)


def _percent(reference: Fit, test: Fit, low: float, high: float) -> float:
    exponent = (test.integral(low, high) - reference.integral(low, high)) / (high - low)
    return 100 * math.expm1(min(exponent, LARGEST_EXPONENT))


def _falls(fits: Sequence[Fit], low: float, high: float) -> bool:
    """Whether an interpolation says that more quality needs fewer bits."""
    places = np.linspace(low, high, STEPS)
    return any(bool((np.diff(fit.value(places)) < -ROUNDING).any()) for fit in fits)


def _pchip(curve: Curve) -> Fit:
    fitted = PchipInterpolator(curve.quality, np.log(curve.rate))
    return Fit(fitted, lambda low, high: float(fitted.integrate(low, high)))


def _akima(curve: Curve) -> Fit:
    if len(curve.rate) == 2:
        return _pchip(curve)  # a straight line either way
    fitted = Akima1DInterpolator(curve.quality, np.log(curve.rate))
    return Fit(fitted, lambda low, high: float(fitted.integrate(low, high)))


def _cubic(curve: Curve) -> Fit:
    fitted = np.polynomial.Polynomial.fit(curve.quality, np.log(curve.rate), 3)
    primitive = fitted.integ()
    return Fit(fitted, lambda low, high: float(primitive(high) - primitive(low)))


def _notes(reference: Curve, test: Curve, low: float, high: float) -> tuple[str, ...]:
    found = []
    for curve in (reference, test):
        share = (high - low) / float(curve.quality[-1] - curve.quality[0])
        if share < SMALL_OVERLAP:
            found.append(f"only {100 * share:.0f} % of the quality range of {curve.name} is compared")
        if curve.dropped:
            found.append(f"{curve.dropped} points of {curve.name} do not rise and were dropped")
        if curve.endless:
            found.append(f"{curve.endless} points of {curve.name} have no loss, so no quality in dB, and were dropped")
        if len(curve.rate) < CUBIC_NEEDS:
            found.append(f"{curve.name} has only {len(curve.rate)} points")
    return tuple(found)
