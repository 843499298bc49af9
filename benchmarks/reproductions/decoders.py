"""Efficient decoders: time of decoding against rate and distortion, with gates and uniformly narrower.

Source: arXiv 1912.08771. Encoder and entropy model are those of the codec that ships, our own training; a decoder
wider than its own is trained first, and slimmed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from ntc import patches, store
from ntc.models import transforms
from ntc.models.codec import Codec
from ntc.models.exchange import Measure
from pim.core.files import sha256_of
from pim.datasets.frames import find_sources
from pim.errors import InputError, UsageError
from pim.eval.bd_rate import Curve, bd_rate
from pim.images.opener import open_image
from reproductions import efficient
from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.figures import colours_of, panels
from reproductions.ledger import Result, number
from reproductions.slimming import DOUBLED, Training, slim, tune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.7, 0.5, 0.35, 0.25)  # of the multiply-adds
WIDTH = 64  # channels between all convolutions of the decoder to start from
FIRST = {"quick": Training(10_000), "full": Training(60_000)}  # of that decoder
TRAININGS = {"quick": Training(4_000), "full": Training(20_000)}  # of all decoders afterwards
EVERY = {"quick": 4, "full": 1}  # picture of the test set
PER_SOURCE = 200  # patches
SHOWN = (512, 768)  # rows and columns of the picture whose decoding is timed
WARM_UPS, REPEATS = 2, 7
WIDE, OWN = f"all {WIDTH} channels", "the codec's own"
FASTER, LOSS = 0.5, 2.0  # the bar: share of the time that is saved, BD-rate in percent


@dataclass(frozen=True)
class Sample:
    """What the decoder gets of a test picture at one level."""

    picture: Tensor  # (1, 3, H, W), 8 bits in [0, 1]
    latents: Tensor
    level: Tensor
    bits: float  # per pixel


@dataclass(frozen=True)
class Candidate:
    """A decoder and how it came about."""

    method: str
    share: float
    decoder: nn.Sequential


def _run(context: Context) -> Findings:
    folder = context.need_data("video/ to learn from and kodak/ to measure on")
    path = _codec(folder)
    codec = store.load(path).codec
    candidates = list(_candidates(context, codec, path, folder))
    samples = list(_samples(codec, sorted((folder / "kodak").glob("*.png"))[:: EVERY[context.preset]]))
    if not samples:
        raise UsageError(f"{folder} holds no kodak/*.png to measure on")
    seconds = _times(codec, [c.decoder for c in candidates])
    curves = [_points(codec, c, samples) for c in candidates]
    rows: list[Result] = [
        {
            "method": c.method,
            "share asked": c.share,
            "operations": efficient.multiply_adds(c.decoder),
            "widths": "-".join(str(w) for w in efficient.widths(c.decoder)),
            "seconds": spent,
            "BD-rate": _more_bits(curves[0], curve),
            "pictures": len(samples) // len(codec.config.lambdas),
        }
        for c, spent, curve in zip(candidates, seconds, curves, strict=True)
    ]
    return Findings(rows, _claims(rows), {"decoders": _figure(rows)})


def _codec(folder: Path) -> Path:
    """The codec of the folder of data, else the first that ships."""
    own = folder / "codec.safetensors"
    if own.exists():
        return own
    shipped = store.shipped()
    if not shipped:
        raise UsageError(f"no codec ships with this version; put one into {own}")
    return next(iter(shipped.values()))


def _candidates(context: Context, codec: Codec, path: Path, folder: Path) -> Iterator[Candidate]:
    """A wide decoder, what gates leave of it, uniformly narrower ones, all trained alike; and the codec's own."""
    work = _Work(context, codec, sha256_of(path)[:16], folder)
    first = work.first()
    yield work.tuned(WIDE, 1.0, first)
    for share, start in zip(SHARES, work.gated(first), strict=True):
        yield work.tuned("gates", share, start)
    for share in SHARES:
        yield work.tuned("uniform", share, efficient.uniform(first, share))
    assert isinstance(codec.synthesis, nn.Sequential)
    yield Candidate(OWN, 1.0, codec.synthesis)


@dataclass
class _Work:
    """Decoders that are made now or were made before."""

    context: Context
    codec: Codec
    key: str  # of the codec
    folder: Path
    pixels: NDArray[np.uint8] | None = None  # read when first needed

    @property
    def training(self) -> Training:
        return TRAININGS[self.context.preset]

    def first(self) -> nn.Sequential:
        """The wide decoder, trained from random weights."""
        training = FIRST[self.context.preset]

        def make() -> nn.Sequential:
            return tune(self.codec, self._untrained(), self._pixels(), training, lambda: self.context.watch(1, WIDE))

        return self._kept(f"{WIDE}, {training.steps} steps", 1.0, make)

    def _untrained(self) -> nn.Sequential:
        torch.manual_seed(self.training.seed)
        return transforms.synthesis(replace(self.codec.config, widths=(WIDTH,) * 3))

    def tuned(self, method: str, share: float, start: nn.Sequential) -> Candidate:
        """A decoder after its training."""

        def make() -> nn.Sequential:
            note = f"{method}, {share:.0%}"
            return tune(self.codec, start, self._pixels(), self.training, lambda: self.context.watch(1, note))

        return Candidate(method, share, self._kept(f"{method}, trained", share, make))

    def gated(self, first: nn.Sequential) -> Iterator[nn.Sequential]:
        """A decoder pruned by gates, from one run that closes more and more of them."""
        running: list[Iterator[nn.Sequential]] = []

        def make() -> nn.Sequential:
            if not running:
                watch = partial(self.context.watch, 1, "closing gates")
                running.append(slim(self.codec, first, self._pixels(), list(SHARES), self.training, watch))
            return next(running[0])

        for share in SHARES:
            yield self._kept("gates, pruned", share, make)

    def _kept(self, method: str, share: float, make: Callable[[], nn.Sequential]) -> nn.Sequential:
        settings: Result = {
            "experiment": "decoders",
            "codec": self.key,
            "width": WIDTH,
            "method": method,
            "share": share,
            "steps": self.training.steps,
            "seed": self.training.seed,
        }
        artefact = self.context.ledger.artefact(settings, ".safetensors")

        def work() -> Result:
            decoder = make()
            self.context.ledger.keep(artefact, save(dict(decoder.state_dict())))
            return {"operations": efficient.multiply_adds(decoder)}

        self.context.ledger.run(settings, work)
        return efficient.resized(self._untrained(), load(artefact.read_bytes()))

    def _pixels(self) -> NDArray[np.uint8]:
        """Patches of the videos that are not held out."""
        if self.pixels is None:
            found = patches.collect(find_sources([self.folder / "video"]), patches.PatchSettings(per_source=PER_SOURCE))
            self.pixels = found.take(held_out=False)
        return self.pixels


@torch.no_grad()
def _samples(codec: Codec, pictures: list[Path]) -> Iterator[Sample]:
    """What decoders get of test pictures, at all lambdas."""
    codec.eval()
    for path in pictures:
        picture = torch.from_numpy(open_image(path).pixels).permute(2, 0, 1)[None]
        size = (picture.shape[-2], picture.shape[-1])
        for number_ in range(len(codec.config.lambdas)):
            level, measure = torch.tensor([float(number_)]), Measure()
            latents = codec.exact(codec.latents(picture, level).cpu(), codec.latent_size(size), measure)
            yield Sample(picture, latents, level, sum(measure.bits.values()) / (size[0] * size[1]))


@torch.no_grad()
def _points(codec: Codec, candidate: Candidate, samples: list[Sample]) -> tuple[list[float], list[float]]:
    """Mean bits per pixel and mean PSNR of 8-bit pictures, for every lambda."""
    own, codec.synthesis = codec.synthesis, candidate.decoder
    points: dict[float, list[tuple[float, float]]] = {}
    for sample in samples:
        size = (sample.picture.shape[-2], sample.picture.shape[-1])
        decoded = (codec.image(sample.latents, size, sample.level) * 255).round() / 255
        psnr = -10 * math.log10(float((decoded - sample.picture).double().square().mean()))
        points.setdefault(float(sample.level), []).append((sample.bits, psnr))
    codec.synthesis = own
    bits, quality = ([fmean(pair[i] for pair in found) for found in points.values()] for i in (0, 1))
    return bits, quality


def _more_bits(reference: tuple[list[float], list[float]], test: tuple[list[float], list[float]]) -> float:
    """BD-rate in percent; infinite where one has no curve, or does not even reach the other's worst quality."""
    try:
        return bd_rate(Curve.through("reference", *reference), Curve.through("test", *test)).pchip
    except InputError:
        return math.copysign(math.inf, fmean(reference[1]) - fmean(test[1]))


@torch.no_grad()
def _times(codec: Codec, decoders: list[nn.Sequential]) -> list[float]:
    """Seconds of computing that one thread needs for a picture, medians of turns in which each decoder has one."""
    latents = torch.randn(1, codec.config.latents, *(side // transforms.STRIDE for side in SHOWN))
    spent: list[list[float]] = [[] for _ in decoders]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for turn in range(WARM_UPS + REPEATS):
        for decoder, seconds in zip(decoders, spent, strict=True):
            start = time.process_time()  # of one thread: what else the machine does counts little
            transforms.synthesise(decoder, latents)
            if turn >= WARM_UPS:
                seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return [median(seconds) for seconds in spent]


def _claims(rows: list[Result]) -> list[Claim]:
    whole = number(rows[0], "seconds")
    good = [row for row in rows if row["method"] == "gates" and number(row, "BD-rate") <= LOSS]
    best = min(good, key=lambda row: number(row, "seconds"), default=rows[0])
    saved = 1 - number(best, "seconds") / whole
    first = Claim(
        "a decoder with fewer channels, chosen by gates, is as good",
        "arXiv 1912.08771",
        f"at least {FASTER:.0%} less time at no more than {LOSS:g} % BD-rate",
        f"{saved:.0%} less time, {number(best, 'BD-rate'):+.2f} %, channels {best['widths']}",
        saved >= FASTER,
    )
    pairs = [(_at(rows, "gates", share), _at(rows, "uniform", share)) for share in SHARES]
    said = ", ".join(f"{number(g, 'BD-rate'):+.2f} % against {number(u, 'BD-rate'):+.2f} %" for g, u in pairs)
    better = sum(number(g, "BD-rate") < number(u, "BD-rate") for g, u in pairs)
    second = Claim(
        f"gates beat uniformly narrower layers at {', '.join(f'{s:.0%}' for s in SHARES)} of the operations",
        "arXiv 1912.08771",
        "a smaller BD-rate at every share",
        said,
        better == len(pairs),
    )
    return [first, second]


def _at(rows: list[Result], method: str, share: float) -> Result:
    return next(row for row in rows if row["method"] == method and row["share asked"] == share)


def _figure(rows: list[Result]) -> Figure:
    figure, axes = panels(2)
    for axis, key, label in zip(
        axes, ("operations", "seconds"), ("multiply-adds per pixel", "seconds, 768 x 512, one thread"), strict=True
    ):
        for method, colour in colours_of(("gates", "uniform", WIDE, OWN)).items():
            own = [row for row in rows if row["method"] == method and math.isfinite(number(row, "BD-rate"))]
            x, y = [number(row, key) for row in own], [number(row, "BD-rate") for row in own]
            axis.plot(x, y, "o-", color=colour, label=method)
        axis.axhline(LOSS, color="k", linestyle=":", linewidth=0.8)
        axis.set(xlabel=label, ylabel="BD-rate, % (lower is better)", xlim=(0, None))
    axes[0].legend()
    return figure


def _steps(preset: Preset) -> int:
    closing = 10 * DOUBLED  # about: gates close when they close
    return FIRST[preset].steps + (1 + 2 * len(SHARES)) * TRAININGS[preset].steps + closing


EXPERIMENTS = (Experiment("decoders", _run, _steps),)
