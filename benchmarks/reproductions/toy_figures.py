"""What codes of toy sources look like: cells, warped grids, points against the bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reproductions.figures import COLOURS, colours_of, legend_below, panels, plain_log
from reproductions.ledger import Result, number
from reproductions.toys import limits
from reproductions.toys.sources import Source
from reproductions.toys.transform_code import TransformCode
from reproductions.toys.vector_quantizer import Codebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 1.0  # the lambda whose cells are drawn
PIXELS = 500  # a side, of drawn cells
LINE_POINTS = 200
Rows = Mapping[tuple[str, float], Result]
Bounds = tuple[float, float, float, float]  # left, right, bottom, top


def draw(
    source: Source, rows: Rows, codes: Mapping[float, TransformCode], books: Mapping[float, Codebook]
) -> dict[str, Figure]:
    """All figures of a source, by name."""
    if source.dimensions == 1:
        return {"tradeoff": _tradeoff(source, rows), "quantizers": _staircases(source, codes)}
    figure, (vector, transform, warped) = panels(3)
    x = source.sample(20_000, torch.Generator().manual_seed(2))
    bounds = _bounds(x)
    book, code = books[SHOWN], codes[SHOWN]
    _cells(vector, lambda grid: book.winners(grid, SHOWN), book.words, bounds)
    vector.set_title(f"vector quantiser, {len(book.words)} words")
    symbols = torch.unique(code.symbols(x), dim=0)
    _cells(transform, lambda grid: _numbered(code.symbols(grid)), code.reconstruct(symbols), bounds)
    transform.set_title(f"transform code, {len(symbols)} cells used")
    _warped_grid(warped, code, x, bounds)
    warped.set_title("decoded lines of the latent space")
    return {"tradeoff": _tradeoff(source, rows), "cells": figure}


def _tradeoff(source: Source, rows: Rows) -> Figure:
    """Rate against distortion, and L above the lower bound."""
    figure, (plane, excess) = panels(2)
    methods = list(dict.fromkeys(method for method, _ in rows))
    lambdas = sorted({lmbda for _, lmbda in rows})
    for method, colour in colours_of(methods).items():
        points = [rows[method, lmbda] for lmbda in lambdas]
        distortions, rates = ([number(p, key) for p in points] for key in ("distortion", "rate"))
        plane.plot(distortions, rates, "o-", color=colour, label=method)
        above = [number(p, "loss") - _bound(source, lmbda) for p, lmbda in zip(points, lambdas, strict=True)]
        excess.plot(lambdas, above, "o-", color=colour, label=method)
    reached = [number(row, "distortion") for row in rows.values()]
    distortion = np.geomspace(min(reached), max(reached), LINE_POINTS)
    n = source.dimensions
    bound = source.entropy - n / 2 * np.log2(2 * math.pi * math.e * distortion / n)
    plane.plot(distortion, np.maximum(bound, 0), "k--", label="Shannon lower bound")
    plain_log(plane)
    plane.set(xlabel="squared error", ylabel="bits per vector", title=f"{source.name}: trade-off")
    if n == 1:
        best = [limits.laplace_optimum(lmbda).on_laplace().loss(lmbda) - _bound(source, lmbda) for lmbda in lambdas]
        excess.plot(lambdas, best, "k:")
        plane.plot([], [], "k:", label="scalar optimum")
    excess.set_xscale("log")
    excess.set_xticks(lambdas, [f"{lmbda:g}" for lmbda in lambdas])
    excess.minorticks_off()
    excess.set(xlabel="lambda", ylabel="bits", title="L above the Shannon lower bound")
    legend_below(figure, plane)
    return figure


def _staircases(source: Source, codes: Mapping[float, TransformCode]) -> Figure:
    """Input against reconstruction of the learned code and of the optimal quantiser."""
    figure, axes = panels(len(codes))
    x = torch.linspace(-6, 6, 4001)[:, None]
    for axis, (lmbda, code) in zip(axes, codes.items(), strict=True):
        best = limits.laplace_optimum(lmbda)
        axis.plot(x[:, 0], code.reconstruct(code.symbols(x))[:, 0], color=COLOURS[0], label="transform code")
        axis.plot(x[:, 0], [_quantized(best, float(v)) for v in x[:, 0]], "k--", label="optimum")
        axis.set(title=f"{source.name}, lambda {lmbda:g}", xlabel="value", ylabel="reconstruction")
        axis.legend()
    return figure


def _quantized(best: limits.DeadZoneQuantizer, x: float) -> float:
    beyond = abs(x) - best.dead_zone
    if beyond <= 0:
        return 0.0
    inner = best.dead_zone + math.floor(beyond / best.width) * best.width
    return math.copysign(inner + best.offset, x)


def _cells(axis: Axes, cell_of: Callable[[Tensor], Tensor], words: Tensor, bounds: Bounds) -> None:
    """Borders of cells as lines, words as dots."""
    x, y, grid = _pixels(bounds)
    cell = cell_of(grid).reshape(PIXELS, PIXELS).numpy()
    borders = np.zeros((PIXELS, PIXELS), bool)
    borders[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    borders[1:] |= cell[1:] != cell[:-1]
    axis.pcolormesh(x, y, np.where(borders, 1.0, 0.0), cmap="Greys", vmax=1.6, rasterized=True)
    axis.plot(words[:, 0], words[:, 1], "o", color=COLOURS[1], markersize=3)
    axis.set(xlim=bounds[:2], ylim=bounds[2:], aspect="equal")


def _warped_grid(axis: Axes, code: TransformCode, x: Tensor, bounds: Bounds) -> None:
    axis.plot(x[:3000, 0], x[:3000, 1], ".", color="#cccccc", markersize=1)
    with torch.no_grad():
        y = code.analysis(x)
        low, high = y.quantile(0.002, dim=0), y.quantile(0.998, dim=0)
        for fixed in (0, 1):
            for value in torch.arange(math.floor(low[fixed]) - 0.5, math.ceil(high[fixed]) + 1.0):
                line = torch.empty(LINE_POINTS, 2)
                line[:, fixed] = value
                line[:, 1 - fixed] = torch.linspace(float(low[1 - fixed]), float(high[1 - fixed]), LINE_POINTS)
                decoded = code.synthesis(line)
                axis.plot(decoded[:, 0], decoded[:, 1], color=COLOURS[2 * fixed], linewidth=0.8)
    axis.set(xlim=bounds[:2], ylim=bounds[2:], aspect="equal")


def _pixels(bounds: Bounds) -> tuple[NDArray[np.float64], NDArray[np.float64], Tensor]:
    x, y = np.linspace(*bounds[:2], PIXELS), np.linspace(*bounds[2:], PIXELS)
    columns, rows = np.meshgrid(x, y)
    return x, y, torch.from_numpy(np.stack([columns.ravel(), rows.ravel()], axis=1)).float()


def _bounds(x: Tensor) -> Bounds:
    low, high = x.quantile(0.001, dim=0), x.quantile(0.999, dim=0)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _numbered(symbols: Tensor) -> Tensor:
    """A number for every different row, (N,)."""
    found: Tensor = torch.unique(symbols, dim=0, return_inverse=True)[1]
    return found


def _bound(source: Source, lmbda: float) -> float:
    return limits.shannon_lower_bound(source.entropy, source.dimensions, lmbda)
