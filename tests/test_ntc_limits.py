"""Exact optima and bounds against numerical integration, brute force and golden arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reproductions.toys import limits, sawbridge, sources

Golden = Callable[[str], Mapping[str, NDArray[Any]]]


def laplace_by_integration(t: float, s: float) -> tuple[float, float]:
    """Entropy and distortion of a dead-zone quantiser, from its cells and the density on a fine grid."""
    x = (np.arange(4_000_000) + 0.5) * 1e-5  # one side, up to 40
    mass = 0.5 * np.exp(-x) * 1e-5
    cell = np.where(x <= t, 0, 1 + np.floor((x - t) / s).astype(int))
    p = np.bincount(cell, mass)
    centroid = np.bincount(cell, mass * x) / p
    centroid[0] = 0.0  # the other side balances it
    error = 2 * float((mass * (x - centroid[cell]) ** 2).sum())
    both = np.concatenate([[2 * p[0]], p[1:], p[1:]])
    return float(-(both * np.log2(both)).sum()), error


@pytest.mark.parametrize(("t", "s"), [(0.7, 1.1), (2.2, 3.1)])
def test_the_closed_form_of_a_dead_zone_quantizer_is_what_integration_gives(t: float, s: float) -> None:
    point = limits.DeadZoneQuantizer(t, s).on_laplace()
    assert (point.rate, point.distortion) == pytest.approx(laplace_by_integration(t, s), rel=2e-5)


def test_the_best_scalar_quantizer_of_a_laplace_source_is_the_stored_one(golden: Golden) -> None:
    stored = golden("ntc_numpy")
    for lmbda, (t, s, loss, rate, distortion, offset) in zip(
        stored["laplace_lambda"], stored["laplace_t_s_L_R_D_m"], strict=True
    ):
        best = limits.laplace_optimum(float(lmbda))
        point = best.on_laplace()
        assert point.loss(float(lmbda)) == pytest.approx(loss, rel=1e-9)
        assert (best.dead_zone, best.width, best.offset) == pytest.approx((t, s, offset), rel=1e-4)
        assert (point.rate, point.distortion) == pytest.approx((rate, distortion), rel=1e-4)


def test_at_low_rates_the_best_quantizer_is_hardly_better_than_sending_nothing() -> None:
    loss = limits.laplace_optimum(0.3).on_laplace().loss(0.3)
    assert loss == pytest.approx(0.590562, abs=2e-6)
    assert loss < 0.3 * 2  # the variance


@pytest.mark.parametrize("lmbda", [0.3, 1.0, 10.0])
def test_the_shannon_bound_is_the_least_that_its_curve_reaches(lmbda: float) -> None:
    distortions = np.geomspace(1e-4, 1e2, 200_001)
    entropy, n = sources.BANANA.entropy, 2
    curve = entropy - n / 2 * np.log2(2 * math.pi * math.e * distortions / n) + lmbda * distortions
    assert limits.shannon_lower_bound(entropy, n, lmbda) == pytest.approx(curve.min(), abs=1e-6)


def test_the_banana_is_the_stored_one(golden: Golden) -> None:
    stored = golden("ntc_numpy")
    made = sources.banana_from_normal(torch.from_numpy(stored["banana_z"]))
    np.testing.assert_allclose(made.numpy(), stored["banana_x"], atol=1e-12)


def test_the_banana_keeps_volumes() -> None:
    z = torch.tensor([[1.3, -0.4], [-5.0, 0.7]], dtype=torch.float64)
    for row in z:
        jacobian = torch.autograd.functional.jacobian(lambda at: sources.banana_from_normal(at[None])[0], row)
        assert torch.linalg.det(jacobian).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", sources.SOURCES)
def test_samples_of_a_source_have_its_entropy(name: str) -> None:
    source = sources.SOURCES[name]
    x = source.sample(400_000, torch.Generator().manual_seed(0)).double().numpy()
    assert x.shape == (400_000, source.dimensions)
    side = 0.12
    _, counts = np.unique(np.floor(x / side), axis=0, return_counts=True)
    p = counts / len(x)
    singles = (len(counts) - 1) / (2 * len(x) * math.log(2))  # bias of the plug-in estimate (Miller, Madow)
    estimate = -(p * np.log2(p)).sum() + singles + source.dimensions * math.log2(side)
    assert estimate == pytest.approx(source.entropy, abs=0.02)


def test_the_optimal_code_of_the_sawbridge_is_the_stored_one(golden: Golden) -> None:
    stored = golden("ntc_numpy")
    for lmbda, n, rate, distortion, loss in stored["sawbridge_lam_n_H_D_L"]:
        best = sawbridge.optimum(float(lmbda))
        assert best.n == n
        assert (best.point.rate, best.point.distortion) == pytest.approx((rate, distortion), abs=1e-12)
        assert best.point.loss(float(lmbda)) == pytest.approx(loss, abs=1e-12)
    breaks = stored["sawbridge_breakpoints"]
    assert [sawbridge.breakpoint(n) for n in range(1, len(breaks) + 1)] == pytest.approx(breaks.tolist(), rel=1e-12)


@pytest.mark.parametrize("lmbda", [15.0, 40.0])
def test_no_unequal_cells_of_the_sawbridge_are_better(lmbda: float) -> None:
    best = sawbridge.optimum(lmbda)
    rng = np.random.default_rng(0)
    for n in range(1, 9):
        p = rng.dirichlet(np.full(n, 20.0), 2000)
        loss = -(p * np.log2(p)).sum(1) + lmbda / 6 * (p**2).sum(1)
        assert loss.min() >= best.point.loss(lmbda) - 1e-9


@pytest.mark.parametrize(("lmbda", "points", "loss"), [(15, 1024, 2.24878), (40, 128, 3.64476), (96, 128, 4.90252)])
def test_equal_cells_on_a_grid_cost_what_a_code_of_samples_costs(lmbda: float, points: int, loss: float) -> None:
    best = sawbridge.grid_optimum(lmbda, points)
    assert best.point.loss(lmbda) == pytest.approx(loss, abs=1e-5)
    z = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    cell = (z * best.n).floor().long()
    x = sawbridge.sawbridge(z, points)
    centroid = torch.zeros(best.n, points, dtype=torch.float64).index_add_(0, cell, x) * best.n / len(z)
    error = float((x - centroid[cell]).square().mean())
    assert error == pytest.approx(best.point.distortion, rel=1e-3)


def test_dynamic_programming_finds_what_enumeration_finds() -> None:
    points, lmbda = 9, 30.0

    def loss(sizes: tuple[int, ...]) -> float:
        return sum(_cell(m) for m in sizes)

    def _cell(m: int) -> float:
        p = m / (points - 1)
        steps = sum((j / m) * (1 - j / m) for j in range(1, m)) / points
        return p * (-math.log2(p) + lmbda * steps)

    def compositions(total: int) -> list[tuple[int, ...]]:
        if total == 0:
            return [()]
        return [(m, *rest) for m in range(1, total + 1) for rest in compositions(total - m)]

    assert sawbridge.best_partition(lmbda, points) == pytest.approx(min(map(loss, compositions(points - 1))), abs=1e-12)


def test_the_best_partition_of_the_grid_is_hardly_better_than_equal_cells() -> None:
    for lmbda in (15.0, 40.0, 96.0):
        equal, best = sawbridge.grid_optimum(lmbda, 128).point.loss(lmbda), sawbridge.best_partition(lmbda, 128)
        assert equal * 0.998 < best <= equal + 1e-12


def test_the_spectrum_of_the_sawbridge_is_that_of_its_samples(golden: Golden) -> None:
    stored = golden("ntc_numpy")
    np.testing.assert_allclose(sawbridge.eigenvalues(50), stored["sawbridge_eig"], rtol=1e-12)
    np.testing.assert_allclose(
        sawbridge.coefficients(stored["sawbridge_u"], 50), stored["sawbridge_klt_coef"], atol=1e-12
    )
    points, z = 801, np.array([0.123, 0.618])
    paths = sawbridge.sawbridge(torch.from_numpy(z), points).numpy()
    projected = paths @ sawbridge.eigenfunctions(4, points).T / (points - 1)
    np.testing.assert_allclose(projected, sawbridge.coefficients(z, 4), atol=3e-3)
    t = np.linspace(0, 1, points)
    covariance = np.minimum.outer(t, t) - np.outer(t, t)
    values = np.linalg.eigvalsh(covariance / (points - 1))[::-1][:4]
    np.testing.assert_allclose(values, sawbridge.eigenvalues(4), rtol=1e-4)


def test_water_filling_is_the_stored_curve(golden: Golden) -> None:
    stored = golden("ntc_numpy")
    for level, rate, distortion in zip(stored["rwf_theta"], stored["rwf_R"], stored["rwf_D"], strict=True):
        point = sawbridge.water_filling(float(level))
        assert (point.rate, point.distortion) == pytest.approx((rate, distortion), rel=1e-9)


@pytest.mark.parametrize(("rate", "distortion"), [(1, 0.090676), (4, 0.043107), (10, 0.022018)])
def test_water_filling_reaches_a_given_rate(rate: float, distortion: float) -> None:
    point = sawbridge.water_filling_at(rate)
    assert point.rate == pytest.approx(rate, abs=1e-9)
    assert point.distortion == pytest.approx(distortion, abs=1e-6)


def test_the_best_water_level_is_the_best_of_all_levels() -> None:
    best = sawbridge.water_filling_optimum(96.0).loss(96.0)
    others = [sawbridge.water_filling(level).loss(96.0) for level in np.geomspace(1e-4, 0.1, 2001)]
    assert best == pytest.approx(min(others), abs=1e-5)
    assert best == pytest.approx(7.9696, abs=1e-4)


def test_sampled_sawbridges_have_their_jump_where_it_belongs() -> None:
    x = sawbridge.sample(500, 65, torch.Generator().manual_seed(0))
    steps = x.diff(dim=1)
    assert ((steps < -0.5).sum(1) == 1).all()
    assert x.abs().max() <= 1


def test_the_shifted_sawbridge_has_the_same_power_at_all_times() -> None:
    plain = sawbridge.sample(20_000, 17, torch.Generator().manual_seed(0)).square().mean(0)
    moved = sawbridge.sample(20_000, 17, torch.Generator().manual_seed(0), stationary=True).square().mean(0)
    t = torch.linspace(0, 1, 17)
    torch.testing.assert_close(plain, t * (1 - t), atol=0.01, rtol=0)
    torch.testing.assert_close(moved, torch.full((17,), 1 / 6), atol=0.01, rtol=0)
