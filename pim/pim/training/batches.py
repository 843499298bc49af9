"""Minibatches of frame pairs: which crops, which window of them, and what the two frames differ by.

Everything is a function of (seed, step): a resumed run draws what the undisturbed one would have drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pim.datasets.crops import Crops
from pim.pim.training.settings import TrainSettings

TRAIN, VALIDATE, START, UNRELATED = 0, 1, 2, 3  # streams of random numbers that must not meet
# R, G, B of one unit of Cb and of Cr (ITU-R BT.601), neither of which changes luma.
COLOUR_DIFFERENCES = np.array([[0.0, -0.344136, 1.772], [1.402, -0.714136, 0.0]])


def generator(settings: TrainSettings, stream: int, step: int, *pair: int) -> np.random.Generator:
    """Start the random numbers of one step, or of one pair of its minibatch."""
    sequence = np.random.SeedSequence([settings.seed, stream, step], spawn_key=pair)
    return np.random.Generator(np.random.PCG64(sequence))


def choose(crops: Crops, settings: TrainSettings, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Indices (count,) of crops: `per_source` from each of some random sources, no crop twice if possible."""
    present = np.unique(crops.source)
    chosen: list[int] = []
    while len(chosen) < count:
        for source in rng.permutation(present):
            members = np.flatnonzero(crops.source == source)
            wanted = min(settings.per_source, count - len(chosen), len(members))
            chosen += rng.choice(members, wanted, replace=False).tolist()
            if len(chosen) == count:
                break
    return np.array(chosen, dtype=np.int64)


def pairs_at(
    crops: Crops,
    settings: TrainSettings,
    stream: int,
    step: int,
    count: int,
    device: torch.device,
    mine: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """Cut and jitter the two sides x, y of a minibatch, (n, 3, window, window) each, sRGB; jitter can leave [0, 1].

    `mine` says which n of its `count` pairs this process needs; what they are does not depend on it.
    """
    rng = generator(settings, stream, step)
    size = crops.pairs.shape[-1]
    window = min(settings.window, size)
    index = choose(crops, settings, rng, count)
    first = rng.integers(0, size - window + 1, (count, 2))
    second = (first + rng.integers(-settings.shift, settings.shift + 1, (count, 2))).clip(0, size - window)
    turns = rng.random((count, 2)) < 0.5
    chosen = zip(index[mine], first[mine], second[mine], strict=True)
    raw = np.stack([_windows(crops.pairs[i], a, b, window) for i, a, b in chosen])
    for i, (mirror, turn) in enumerate(turns[mine]):
        if mirror:
            raw[i] = raw[i, ..., ::-1]
        if turn:
            raw[i] = raw[i].swapaxes(-1, -2)
    both = torch.from_numpy(np.ascontiguousarray(raw)).to(device).float() / 255
    rows = [generator(settings, stream, step, row) for row in range(count)[mine]]
    return _jitter(both[:, 0], settings, rows), _jitter(both[:, 1], settings, rows)


def unrelated(crops: Crops, settings: TrainSettings, count: int) -> tuple[Tensor, Tensor]:
    """Whole crops as they are, (n, 3, size, size) twice, n <= count: pairs from different sources."""
    rng = generator(settings, UNRELATED, 0)
    first, second = (choose(crops, settings, rng, count) for _ in range(2))
    different = crops.source[first] != crops.source[second]
    x, y = (crops.pairs[index[different], 0] for index in (first, second))
    return torch.from_numpy(x).float() / 255, torch.from_numpy(y).float() / 255


def draw_noise(
    shape: torch.Size, settings: TrainSettings, stream: int, step: int, band: int, mine: slice = slice(None)
) -> Tensor:
    """Draw normal noise for z, (N, D, h, w), on the CPU so that every device sees the same; only the rows `mine`."""
    seeds = np.random.SeedSequence([settings.seed, stream, step, band]).generate_state(shape[0], np.uint64)[mine]
    draw = torch.Generator()
    return torch.stack([torch.randn(shape[1:], generator=draw.manual_seed(int(s >> np.uint64(1)))) for s in seeds])


def _windows(
    pair: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], window: int
) -> NDArray[np.uint8]:
    """A window of each of the two crops, (2, 3, window, window), from their upper left corners."""
    corners = zip(pair, (first, second), strict=True)
    return np.stack([crop[:, t : t + window, s : s + window] for crop, (t, s) in corners])


def _jitter(image: Tensor, settings: TrainSettings, rows: list[np.random.Generator]) -> Tensor:
    """Contrast around the mean, brightness, white and colour noise, independent for each image."""
    drawn = [_drawn(settings, rng, image.shape[1:]) for rng in rows]
    gain, offset, noise = (torch.from_numpy(np.stack(values)).to(image) for values in zip(*drawn, strict=True))
    mean = image.mean((1, 2, 3), keepdim=True)
    return (image - mean) * gain + mean + offset + noise


def _drawn(settings: TrainSettings, rng: np.random.Generator, shape: torch.Size) -> tuple[NDArray[np.float32], ...]:
    """The gain and offset of one image, (1, 1, 1), and its noise (3, h, w)."""
    gain = np.exp(settings.gain * rng.standard_normal((1, 1, 1)))
    offset = settings.offset * rng.standard_normal((1, 1, 1))
    noise = settings.noise * rng.random() * rng.standard_normal(shape, dtype=np.float32)
    if settings.chroma_noise:
        signals = settings.chroma_noise * rng.random() * rng.standard_normal((2, *shape[1:]))
        noise = noise + np.einsum("shw,sc->chw", signals, COLOUR_DIFFERENCES)
    return gain.astype(np.float32), offset.astype(np.float32), noise.astype(np.float32)
