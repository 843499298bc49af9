"""Compressible features of the digits: real bits against error, beside coders of finished features.

Source: arXiv 2007.11797. A perceptron 784-300-64-10; what is stored are its 64 last hidden values, 2048 bits
as float32. Ours: finer steps of rounding after training (`CompressibleBottleneck.refine`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ntc.features import CompressibleBottleneck
from reproductions import digits
from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.feature_coders import ScalarCoder, deflated
from reproductions.figures import colours_of, legend_below, panels, plain_log
from reproductions.ledger import Result, number
from reproductions.penalised import Schedule, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, RAW_BITS = 64, 2048
SEEDS = (0, 1, 2)
MORE_SEEDS: dict[str, tuple[int, ...]] = {"quick": (), "full": tuple(range(3, 12))}  # at the chosen price
PRICES = {"quick": (1e-4, 3e-4, 1e-3, 3e-3), "full": (3e-5, 1e-4, 3e-4, 1e-3)}  # nats for a bit
FINENESS = (1, 2, 4)  # steps of storing, times as fine as in training
EPOCHS = {"quick": 10, "full": 50}
STEPS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of scalar coders, in units of the mean deviation of features
RATE = 2e-3  # of learning
HELD_OUT_DIGITS = "held-out training digits"
HELD_OUT = 5_000  # training digits to choose the price on
ENOUGH, SAVED = 100, 10  # bits for a digit; how many times fewer than with principal components
EXCESS, FLUSH = 0.02, 16  # of real bytes over the estimate: share, bytes


class Classifier(nn.Module):
    """Trunk, features, head; with a bottleneck or without."""

    def __init__(self, priced: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, WIDTH), nn.ReLU())
        self.bottleneck = CompressibleBottleneck(WIDTH) if priced else None
        self.head = nn.Linear(WIDTH, digits.CLASSES)

    def priced(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and mean bits of the features."""
        features: Tensor = self.trunk(images)
        if self.bottleneck is None:
            return self.head(features), torch.zeros(())
        seen, bits = self.bottleneck(features)
        return self.head(seen), bits.mean()

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.priced(images)[0]


def _run(context: Context) -> Findings:
    folder = context.need_data("the MNIST files")
    rows: list[Result] = []
    for seed in SEEDS:
        rows += _finished(context, folder, seed)
        for price in PRICES[context.preset]:
            rows += [r for held_out in (HELD_OUT, 0) for r in _learned(context, folder, price, seed, held_out)]
    choice = _chosen(rows)
    claims, figure = _claims(rows, choice), _figure(rows)
    further: list[Result] = []
    for seed in MORE_SEEDS[context.preset]:
        further += [next(_finished(context, folder, seed)), *_learned(context, folder, choice.price, seed, 0)]
    if further:
        claims.insert(1, _over_all_seeds(rows + further, choice))
    return Findings(rows + further, claims, {"bits": figure})


def _settings(context: Context, price: float, seed: int, held_out: int) -> Result:
    return {
        "experiment": "features",
        "price": price,
        "epochs": EPOCHS[context.preset],
        "seed": seed,
        "held_out": held_out,
    }


def _train(context: Context, settings: Result, folder: Path) -> Classifier:
    """The classifier of these settings, trained now or before."""
    torch.manual_seed(int(number(settings, "seed")))
    net = Classifier(priced=number(settings, "price") > 0)
    kept = context.ledger.artefact(settings, ".safetensors")
    if kept.exists():
        net.load_state_dict(load(kept.read_bytes()))
        return net
    part, _ = digits.training_parts(folder, int(number(settings, "held_out")))
    schedule = Schedule(int(number(settings, "epochs")), learning_rate=RATE, seed=int(number(settings, "seed")))
    note = f"price {settings['price']}, seed {settings['seed']}"
    priced = list(net.bottleneck.parameters()) if net.bottleneck is not None else []
    own = {id(parameter) for parameter in priced}
    others = [parameter for parameter in net.parameters() if id(parameter) not in own]
    groups = [(others, 1.0), (priced, 5.0)] if priced else [(others, 1.0)]
    price = number(settings, "price")
    train(net.priced, groups, part, price, schedule, lambda: context.watch(1, note))
    context.ledger.keep(kept, save(net.state_dict()))
    return net


def _learned(context: Context, folder: Path, price: float, seed: int, held_out: int) -> Iterator[Result]:
    """A row for every fineness of storing, of one training."""
    settings = _settings(context, price, seed, held_out)
    judged_on = HELD_OUT_DIGITS if held_out else "test digits"

    def work(fineness: int) -> Result:
        net = _train(context, settings, folder).eval()
        assert net.bottleneck is not None
        part, rest = digits.training_parts(folder, held_out)
        judged = rest if held_out else digits.test_part(folder)
        if fineness > 1:
            with torch.no_grad():
                sample = net.trunk(part.images)
            net.bottleneck.refine(fineness, sample, seed)
        with torch.no_grad():
            features = net.trunk(judged.images)
            estimate = float(net.bottleneck(features)[1].sum())
            stream = net.bottleneck.compress(features)
            wrong = net.head(net.bottleneck.decompress(stream)).argmax(1) != judged.labels
        error = float(wrong.double().mean())
        return {
            "bits": 8 * len(stream) / len(judged),
            "estimate": estimate / len(judged),
            "error": error,
            "table_bytes": net.bottleneck.table_bytes,
        }

    for fineness in FINENESS:
        result = context.ledger.run({**settings, "fineness": fineness}, partial(work, fineness))
        made: Result = {"method": "learned", "seed": seed, "price": price, "fineness": fineness}
        yield {**made, "judged_on": judged_on, **result}


def _finished(context: Context, folder: Path, seed: int) -> Iterator[Result]:
    """Rows of a classifier without bottleneck, its features stored in several ways."""
    net = _train(context, _settings(context, 0.0, seed, 0), folder).eval()
    part, test = digits.training_parts(folder, 0)[0], digits.test_part(folder)
    with torch.no_grad():
        fitting, features = net.trunk(part.images), net.trunk(test.images)

    def row(method: str, bits: float, seen: Tensor) -> Result:
        with torch.no_grad():
            error = float((net.head(seen).argmax(1) != test.labels).double().mean())
        return {"method": method, "seed": seed, "judged_on": "test digits", "bits": bits, "error": error}

    yield row("float32", RAW_BITS, features)
    seen, size = deflated(features, torch.float16)
    yield row("float16, zlib", 8 * size / len(test), seen)
    deviation = float(fitting.std(0).mean())
    for method, turned in (("principal components, uniform steps", True), ("uniform steps", False)):
        for step in STEPS:
            coder = ScalarCoder.fit(fitting, step * deviation, turned=turned)
            seen, size = coder.code(features)
            yield row(method, 8 * size / len(test), seen)


class _Choice(NamedTuple):
    """What is judged."""

    price: float
    fineness: float

    @classmethod
    def of(cls, row: Result) -> _Choice:
        return cls(number(row, "price"), number(row, "fineness"))

    def rows(self, rows: list[Result]) -> list[Result]:
        """Those of this choice that were measured on test digits."""
        learned = (row for row in rows if row["method"] == "learned" and row["judged_on"] == "test digits")
        return [row for row in learned if self.of(row) == self]

    def __str__(self) -> str:
        return f"price {self.price:g}, steps divided by {self.fineness:g}"


def _chosen(rows: list[Result]) -> _Choice:
    """What is judged: of those with few enough bits, the one with the fewest errors on held-out digits."""
    found: dict[_Choice, list[Result]] = {}
    for row in rows:
        if row["judged_on"] == HELD_OUT_DIGITS:
            found.setdefault(_Choice.of(row), []).append(row)
    means = {made: [fmean(number(r, key) for r in own) for key in ("bits", "error")] for made, own in found.items()}
    small = [made for made, (bits, _) in means.items() if bits <= ENOUGH] or list(means)
    return min(small, key=lambda made: means[made][1])


def _claims(rows: list[Result], choice: _Choice) -> list[Claim]:
    learned = choice.rows(rows)
    bits, error = (fmean(number(row, key) for row in learned) for key in ("bits", "error"))
    plain = fmean(number(row, "error") for row in rows if row["method"] == "float32")
    source, at = "arXiv 2007.11797", f"mean of {len(learned)} seeds, {choice}"
    first = Claim(
        f"features an order of magnitude smaller at no higher error, {at}",
        source,
        f"at most {ENOUGH} real bits; error at most {plain:.2%} ({RAW_BITS} bits)",
        f"{bits:.1f} bits; {error:.2%}",
        bits <= ENOUGH and error <= plain,
    )
    rival = _rival(rows, max(error, plain))
    said = "not reached with any step" if rival is None else f"{rival:.1f} bits"
    second = Claim(
        "bits against principal components with uniform steps at the same error",
        "our expectation",
        f"at least {SAVED} times fewer",
        f"{bits:.1f} bits; principal components: {said}",
        rival is None or rival >= SAVED * bits,
    )
    worst = max(number(r, "bits") - number(r, "estimate") * (1 + EXCESS) for r in learned) * 10_000 / 8
    third = Claim(
        "real bytes against the estimate of training, 10,000 digits",
        "our expectation",
        f"at most {EXCESS:.0%} + {FLUSH} B more",
        f"{worst:+.0f} B beyond {EXCESS:.0%}",
        worst <= FLUSH,
    )
    return [first, second, third]


def _over_all_seeds(rows: list[Result], choice: _Choice) -> Claim:
    """The first claim with more seeds, whose error says what a difference means."""
    learned = {row["seed"]: row for row in choice.rows(rows)}
    plain = {r["seed"]: number(r, "error") for r in rows if r["method"] == "float32"}
    differences = [number(row, "error") - plain[seed] for seed, row in learned.items()]
    mean, error = fmean(differences), stdev(differences) / len(differences) ** 0.5
    return Claim(
        f"error beside that of float32, {len(differences)} seeds, {choice}",
        "arXiv 2007.11797",
        "at most two standard errors above 0",
        f"{100 * mean:+.3f} points, standard error {100 * error:.3f}",
        mean <= 2 * error,
    )


def _rival(rows: list[Result], error: float) -> float | None:
    """Bits with principal components, mean over seeds, at the largest step whose mean error is small enough."""
    rival = [row for row in rows if str(row["method"]).startswith("principal")]
    by_step = [rival[i :: len(STEPS)] for i in range(len(STEPS))]
    means = [[fmean(number(row, key) for row in found) for key in ("bits", "error")] for found in by_step]
    return min((bits for bits, wrong in means if wrong <= error), default=None)


def _figure(rows: list[Result]) -> Figure:
    figure, (axis,) = panels(1)
    shown = [row for row in rows if row["judged_on"] == "test digits"]
    for series, colour in colours_of(_series(row) for row in shown).items():
        found = [row for row in shown if _series(row) == series]
        bits, error = [number(r, "bits") for r in found], [100 * number(r, "error") for r in found]
        axis.plot(bits, error, "o", color=colour, markersize=4, label=series)
    axis.set(xlabel="bits for a digit (bytes of streams)", ylabel="test error, %", ylim=(1, 4))
    plain_log(axis)
    axis.set_title("features of a digit")
    legend_below(figure, axis, columns=2)
    return figure


def _series(row: Result) -> str:
    """What stands in the legend, short."""
    if row["method"] == "learned":
        return f"learned, steps / {row['fineness']}"
    return str(row["method"]).removesuffix(", uniform steps")


def _steps(preset: Preset) -> int:
    runs = len(SEEDS) * (1 + 2 * len(PRICES[preset])) + 2 * len(MORE_SEEDS[preset])
    return runs * EPOCHS[preset] * (60_000 // Schedule(1).batch)


EXPERIMENTS = (Experiment("features", _run, _steps),)
