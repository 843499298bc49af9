"""What a metric responds to: the same distortion with the same energy, in a box and in boxes that look alike.

    S = D(box) / median_j D(control_j)

is 1 for a metric that counts errors alike wherever they are, such as mean squared error, and above 1 for one
that cares more about what is in the box. All get the squared error of the median box. Two controls keep S from
being read as more than it is: the box with its content scrambled (upside down, or cut into tiles that change
places), and another metric that knows nothing of content, such as one with random weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pim.core.metric import Metric, Prepared, ensure_finite
from pim.errors import InputError, UsageError
from pim.eval.boxes import FEWEST, Box, Like, controls
from pim.eval.matched_energy import LARGEST_GAIN, energy, matched, residual

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Scramble = Literal["turn", "tiles", "phases", "none"]

TILE = 8  # side of the tiles that change places


@dataclass(frozen=True)
class Target:
    """A box that may matter, in a picture."""

    image: str
    pixels: Pixels  # (H, W, 3)
    box: Box
    label: str = ""
    avoid: tuple[Box, ...] = ()  # other boxes that matter


@dataclass(frozen=True)
class Response:
    """What one metric says about one box under one distortion."""

    image: str
    box: Box
    label: str
    distortion: str
    metric: str
    inside: float  # distance of the picture with the box distorted
    controls: tuple[float, ...]  # with a control box distorted instead
    scrambled: float | None  # as `inside`, relative to controls, with the content scrambled; None: not asked for

    @property
    def ratios(self) -> Array:
        """The box against every control box, (J,)."""
        return self.inside / np.array(self.controls)

    @property
    def ratio(self) -> float:
        """S, the box against the median control box."""
        return float(self.inside / np.median(self.controls))


@dataclass(frozen=True)
class Refusal:
    """A box about which nothing can be said, and why."""

    image: str
    box: Box
    distortion: str
    reason: str


@dataclass(frozen=True)
class ProbeOptions:
    """How boxes are probed."""

    distortions: tuple[str, ...] = ("noise", "jpeg", "blur")
    scramble: Scramble = "turn"
    loosen: float = 1.0  # factor on how far a control box may be from the box
    against: Like = "alike"  # which boxes are controls
    seed: int = 0
    device: str = "cpu"
    layers: bool = False  # also what each layer of a metric says, where it has layers


def distance(metric: Metric, value: float) -> float:
    """A value as a distance: similarities are taken from their best value, PSNR becomes mean squared error.

    Raises:
        UsageError: if a similarity has no best value and is not in decibels.
    """
    if metric.lower_is_better:
        return value
    best = metric.info.value_range[1]
    if best != float("inf"):
        return best - value
    if metric.name == "psnr":
        return float(10 ** (-value / 10))
    raise UsageError(f"{metric.name} is a similarity without a best value; the probe needs a distance")


def probe(
    target: Target, metrics: Sequence[Metric], options: ProbeOptions, advance: Callable[[], object] = lambda: None
) -> tuple[list[Response], list[Refusal]]:
    """Distort one box and its control boxes in turn; `advance` is called after every picture.

    Returns:
        What every metric says under every distortion, and the distortions under which nothing can be said.

    Raises:
        InputError: if the box does not fit, or the picture is not for one of the metrics.
    """
    target.box.check(target.pixels, target.image)
    alike = controls(target.pixels, target.box, target.avoid, options.loosen, options.against)
    found: list[Response] = []
    refused: list[Refusal] = []
    for distortion in options.distortions:
        change = residual(target.pixels, distortion, options.seed)
        wanted = int(np.median([energy(target.pixels, change, box) for box in (target.box, *alike)]))
        shown = _pictures(target.pixels, target.box, alike, change, wanted, options.seed)
        if shown.inside is None or len(shown.controls) < FEWEST:
            refused.append(Refusal(target.image, target.box, distortion, _reason(alike, shown)))
            continue
        mixed = None
        if options.scramble != "none":
            plain = scrambled(target.pixels, target.box, options.scramble, options.seed)
            again = residual(plain, distortion, options.seed)
            mixed = _pictures(plain, target.box, alike, again, wanted, options.seed)
        found += _responses(target, shown, mixed, distortion, metrics, options, advance)
    return found, refused


@dataclass(frozen=True)
class _Pictures:
    """One distortion with the same energy in many places."""

    reference: Pixels
    inside: Pixels | None  # distorted in the box; None: the energy cannot be matched
    controls: list[Pixels]  # distorted in a control box each


def _pictures(pixels: Pixels, box: Box, alike: Sequence[Box], change: Array, wanted: int, seed: int) -> _Pictures:
    if wanted == 0:
        return _Pictures(pixels, None, [])
    inside, *others = (matched(pixels, change, place, wanted, seed) for place in (box, *alike))
    return _Pictures(pixels, inside, [picture for picture in others if picture is not None])


def _reason(alike: Sequence[Box], pictures: _Pictures) -> str:
    if len(alike) < FEWEST:
        return f"only {len(alike)} boxes look like it in brightness and texture, {FEWEST} are needed"
    if pictures.inside is None:
        return f"its energy is not met in the box, where it takes more than {LARGEST_GAIN:g} times the distortion"
    return (
        f"the energy is met in only {len(pictures.controls)} of {len(alike)} control boxes, {FEWEST} are needed: "
        f"elsewhere it takes more than {LARGEST_GAIN:g} times the distortion"
    )


def _responses(
    target: Target,
    shown: _Pictures,
    mixed: _Pictures | None,
    distortion: str,
    metrics: Sequence[Metric],
    options: ProbeOptions,
    advance: Callable[[], object],
) -> Iterator[Response]:
    rows = _distances(metrics, target, shown, options, advance)
    turned: dict[str, list[float]] = {}
    if mixed is not None and mixed.inside is not None and len(mixed.controls) >= FEWEST:
        turned = _distances(metrics, target, mixed, options, advance)
    for name, (inside, *others) in rows.items():
        ratio = turned[name][0] / float(np.median(turned[name][1:])) if turned else None
        yield Response(target.image, target.box, target.label, distortion, name, inside, tuple(others), ratio)


def _distances(
    metrics: Sequence[Metric],
    target: Target,
    pictures: _Pictures,
    options: ProbeOptions,
    advance: Callable[[], object],
) -> dict[str, list[float]]:
    """The distance of every picture from the reference, by metric or layer; all above 0."""
    found: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        prepared = [metric.prepare(_batch(pictures.reference, options.device)) for metric in metrics]
        for picture in (pictures.inside, *pictures.controls):
            assert picture is not None
            batch = _batch(picture, options.device)
            for metric, known in zip(metrics, prepared, strict=True):
                for name, value in _values(metric, known, batch, target.image, options.layers).items():
                    found[name].append(value)
                    if value <= 0:
                        raise InputError(f"{target.image}: {name} sees no difference in a box; S is not defined")
            advance()
    return found


def _values(metric: Metric, known: Prepared, distorted: Tensor, image: str, layers: bool) -> dict[str, float]:
    """The distance of one picture by the metric, and by each of its layers if they are wanted and it has some."""
    if layers and type(metric).layer_maps is not Metric.layer_maps:
        shares = {layer: float(found.mean()) for layer, found in metric.layer_maps(known, distorted)}
        return {metric.name: sum(shares.values())} | {f"{metric.name} {layer}": part for layer, part in shares.items()}
    values = ensure_finite(metric(known, distorted), metric.info, [image])
    return {metric.name: distance(metric, float(values[0]))}


def scrambled(pixels: Pixels, box: Box, how: Scramble, seed: int) -> Pixels:
    """The picture with the content of a box upside down, its tiles of 8 pixels permuted, or its phases drawn anew.

    New phases, the same for all colours, leave of a thing its spectrum alone, but for values that have to be clipped.
    """
    found = pixels.copy()
    part = pixels[box.slices]
    if how == "phases":
        phases = np.angle(np.fft.fft2(np.random.default_rng(seed).normal(size=part.shape[:2])))
        phases[0, 0] = 0  # the mean stays
        waves = np.fft.fft2(part, axes=(0, 1)) * np.exp(1j * phases)[..., None]
        found[box.slices] = np.rint(np.fft.ifft2(waves, axes=(0, 1)).real).clip(0, 255)
        return found
    if how == "turn":
        found[box.slices] = part[::-1, ::-1]
        return found
    down, across = box.height // TILE, box.width // TILE
    tiled = part[: down * TILE, : across * TILE].reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
    order = np.random.default_rng(seed).permutation(down * across)
    mixed = tiled.reshape(-1, TILE, TILE, 3)[order].reshape(down, across, TILE, TILE, 3).swapaxes(1, 2)
    inner = Box(box.x, box.y, across * TILE, down * TILE)
    found[inner.slices] = mixed.reshape(inner.height, inner.width, 3)
    return found


def _batch(pixels: Pixels, device: str) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous().to(device)
