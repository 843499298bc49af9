"""The logistic curve between metric values and opinion scores, before a linear correlation is taken.

    4 parameters: f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4))
    5 parameters: f(x) = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5

Both are fitted on standardised values from 16 starts; the lowest squared error wins. The fit sees
all rows it is judged on. Source: the forms of the VQEG reports, as image-quality papers use them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit

from pim.errors import InputError, UsageError

Array = NDArray[np.float64]

WIDTHS = (0.25, 0.5, 1.0, 2.0)  # starting widths, in standard deviations of x


@dataclass(frozen=True)
class LogisticFit:
    """A fitted curve and what it makes of its own rows."""

    predicted: Array  # (n,) scores
    rmse: float  # root mean squared error, in units of the score
    curve: str  # "logistic4", "logistic5" or "line"
    parameters: tuple[float, ...]  # of the standardised problem: x and y with mean 0 and deviation 1
    monotone: bool  # whether the curve keeps its direction inside the data


def fit(x: Array, y: Array, parameters: int = 4) -> LogisticFit:
    """Fit opinion scores by a logistic curve of metric values.

    Args:
        x: Metric values, (n,), finite, not constant.
        y: Opinion scores, (n,), finite, not constant.
        parameters: 4 or 5.

    Returns:
        The best of the 16 fits; the straight line if none is better, which `curve` says.

    Raises:
        InputError: if there are fewer rows than parameters plus one, or a side is constant or not finite.
        UsageError: if `parameters` is another number.
    """
    if parameters not in (4, 5):
        raise UsageError(f"the logistic curve has 4 or 5 parameters; got {parameters}")
    if len(x) <= parameters:
        raise InputError(f"{len(x)} rows cannot fit {parameters} parameters")
    u, v = _standardised(x), _standardised(y)
    model, starts = (_four, _starts_four(u, v)) if parameters == 4 else (_five, _starts_five(u, v))
    line = np.polyfit(u, v, 1).astype(np.float64)
    best, best_error = None, float(np.sum((line[0] * u + line[1] - v) ** 2))
    for start in starts:
        found = _minimise(model, start, u, v)
        if found is not None and found[1] < best_error:
            best, best_error = found
    if best is None:
        return _result(x, y, line[0] * u + line[1], "line", line, True)
    value, _ = model(best, u)
    return _result(x, y, value, f"logistic{parameters}", best, parameters == 4 or _monotone(best, u))


def curve_at(at: Array, fitted: LogisticFit, x: Array, y: Array) -> Array:
    """Give the scores (m,) of a fitted curve at metric values (m,), from the rows (n,) that it was fitted to."""
    u, b = (at - x.mean()) / x.std(), np.array(fitted.parameters)
    if fitted.curve == "line":
        value = b[0] * u + b[1]
    else:
        value, _ = (_four if fitted.curve == "logistic4" else _five)(b, u)
    return np.asarray(y.mean() + y.std() * value)


def _result(x: Array, y: Array, value: Array, curve: str, parameters: Array, monotone: bool) -> LogisticFit:
    predicted = y.mean() + y.std() * value
    rmse = float(np.sqrt(np.mean((predicted - y) ** 2)))
    return LogisticFit(predicted, rmse, curve, tuple(float(p) for p in parameters), monotone)


def _four(b: Array, x: Array) -> tuple[Array, Array]:
    """Value (n,) and derivatives (n, 4); the last parameter is 1 / b4, so that a flat curve is no division by 0."""
    upper, lower, centre, slope = b
    s = expit(slope * (x - centre))
    bend = (upper - lower) * s * (1 - s)
    return lower + (upper - lower) * s, np.stack([s, 1 - s, -bend * slope, bend * (x - centre)], axis=1)


def _five(b: Array, x: Array) -> tuple[Array, Array]:
    """Value (n,) and derivatives (n, 5)."""
    height, slope, centre, tilt, offset = b
    s = expit(slope * (x - centre))
    bend = height * s * (1 - s)
    value = height * (s - 0.5) + tilt * x + offset
    return value, np.stack([s - 0.5, bend * (x - centre), -bend * slope, x, np.ones_like(x)], axis=1)


def _starts_four(x: Array, y: Array) -> list[Array]:
    sign = _direction(x, y)
    return [np.array([y.max(), y.min(), c, sign / w]) for c, w in product(_centres(x), WIDTHS)]


def _starts_five(x: Array, y: Array) -> list[Array]:
    height = _direction(x, y) * (y.max() - y.min())
    return [np.array([height, 1 / w, c, 0.0, y.mean()]) for c, w in product(_centres(x), WIDTHS)]


def _centres(x: Array) -> tuple[float, ...]:
    return (0.0, -1.0, 1.0, float(np.median(x)))


def _direction(x: Array, y: Array) -> float:
    return -1.0 if np.mean(x * y) < 0 else 1.0


def _minimise(
    model: Callable[[Array, Array], tuple[Array, Array]], start: Array, x: Array, y: Array
) -> tuple[Array, float] | None:
    """Parameters and squared error from one start; None if the search left the finite numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = least_squares(
            lambda b: model(b, x)[0] - y, start, jac=lambda b: model(b, x)[1], x_scale="jac", method="lm"
        )
    if not np.isfinite(found.x).all() or not np.isfinite(found.cost):
        return None
    return found.x, 2 * float(found.cost)


def _monotone(b: Array, x: Array) -> bool:
    """Whether the 5-parameter curve keeps its direction between the smallest and the largest x."""
    height, slope, centre, tilt, _ = b
    inside = np.union1d(x, np.linspace(x.min(), x.max(), 1001))
    s = expit(slope * (inside - centre))
    derivative = height * slope * s * (1 - s) + tilt
    return bool((derivative >= 0).all() or (derivative <= 0).all())


def _standardised(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise InputError("a curve can only be fitted to finite values; leave infinite ones out and count them")
    if values.max() == values.min():
        raise InputError("a curve cannot be fitted to a constant")
    return np.asarray((values - values.mean()) / values.std())
