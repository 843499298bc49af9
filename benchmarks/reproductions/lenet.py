"""Entropy-penalised reparameterisation on LeNet300-100 and LeNet5-Caffe: bytes of a file against error on the digits.

Source: arXiv 1906.06624, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ntc import reparameterise as epr
from reproductions import digits
from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.figures import COLOURS, panels
from reproductions.ledger import Result, number
from reproductions.penalised import Schedule, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (0, 1, 2)
SIDE_RATE = 10.0  # learning rate of steps and densities, in units of that of the weights
HELD_OUT = 5_000  # training digits to choose lambda on


@dataclass(frozen=True)
class Bar:
    """A size and an error that have to be reached together."""

    size: float  # bytes
    error: float  # share of the test digits

    def __str__(self) -> str:
        return f"at most {self.size / 1000:.2f} KB at {self.error:.1%}"


@dataclass(frozen=True)
class Plan:
    """A network and how it is compressed."""

    name: str
    build: Callable[[], nn.Module]
    published: Bar
    bars: dict[Preset, Bar]
    lambdas: dict[Preset, tuple[float, ...]]  # price of a bit, times the number of parameters, in nats
    chosen: dict[Preset, float]  # which lambda is judged; by what held-out training digits allow
    epochs: dict[Preset, int]


def lenet_300_100() -> nn.Module:
    """784-300-100-10, 266,610 parameters."""
    return _glorot(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    )


def lenet_5_caffe() -> nn.Module:
    """20 and 50 kernels of 5x5 with pooling, 500, 10: 431,080 parameters."""
    return _glorot(
        nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.ReLU(),
            nn.Linear(500, 10),
        )
    )


DENSE = Plan(
    name="lenet300",
    build=lenet_300_100,
    published=Bar(8_560, 0.019),
    bars={"quick": Bar(7_000, 0.020), "full": Bar(6_000, 0.018)},
    lambdas={"quick": (0.2,), "full": (0.1, 0.2, 0.3, 0.5)},
    chosen={"quick": 0.2, "full": 0.2},
    epochs={"quick": 12, "full": 40},
)
CONVOLUTIONAL = Plan(
    name="lenet5",
    build=lenet_5_caffe,
    published=Bar(2_840, 0.010),
    bars={"quick": Bar(4_000, 0.012), "full": Bar(2_840, 0.010)},
    lambdas={"quick": (1.0,), "full": (0.7,)},
    chosen={"quick": 1.0, "full": 0.7},
    epochs={"quick": 12, "full": 30},
)


def compress(
    plan: Plan, part: digits.Part, lmbda: float, schedule: Schedule, watch: Callable[[], None] = lambda: None
) -> bytes:
    """Train a network with a price on its bits, and give its file.

    Args:
        plan: Which network.
        part: What to learn from.
        lmbda: Price of all bits together, divided by the number of parameters, in nats.
        schedule: Epochs, seed.
        watch: Called after every step.
    """
    torch.manual_seed(schedule.seed)
    net = plan.build()
    count = sum(weight.numel() for weight in net.parameters())
    epr.reparameterise(net)
    found = list(epr.reparameterised(net))
    side = [parameter for tensor in found for parameter in tensor.form.parameters()]

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # convolutions are a third faster
        return net(last), epr.code_length(net) / count

    train(forward, [([t.original for t in found], 1.0), (side, SIDE_RATE)], part, lmbda, schedule, watch)
    return epr.dumps(net)


def _run(plan: Plan, context: Context) -> Findings:
    folder = context.need_data("the MNIST files")
    rows = []
    for lmbda in plan.lambdas[context.preset]:
        for seed in SEEDS:
            schedule = Schedule(plan.epochs[context.preset], seed=seed)
            for held_out in (HELD_OUT, 0) if seed == 0 else (0,):
                rows.append(_one(plan, context, folder, lmbda, schedule, held_out))
    claim = _claim(plan, context.preset, rows)
    return Findings(rows, [claim], {"size": _figure(plan, rows)})


def _one(plan: Plan, context: Context, folder: Path, lmbda: float, schedule: Schedule, held_out: int) -> Result:
    """A row: trained on all training digits and judged on the test digits, or judged on those held out."""
    settings: Result = {
        "network": plan.name,
        "lambda": lmbda,
        "epochs": schedule.epochs,
        "seed": schedule.seed,
        "held_out": held_out,
    }

    def work() -> Result:
        part, rest = digits.training_parts(folder, held_out)
        judged = rest if held_out else digits.test_part(folder)
        content = compress(plan, part, lmbda, schedule, lambda: context.watch(1, f"{plan.name}, lambda {lmbda:g}"))
        context.ledger.keep(context.ledger.artefact(settings, ".pntm"), content)
        net = plan.build()
        epr.loads(content, net)
        return {"bytes": len(content), "error": digits.error_rate(net, judged)}

    result = context.ledger.run(settings, work)
    return {**settings, "judged_on": "held-out training digits" if held_out else "test digits", **result}


def _claim(plan: Plan, preset: Preset, rows: list[Result]) -> Claim:
    chosen = [r for r in rows if r["lambda"] == plan.chosen[preset] and not r["held_out"]]
    size, error = (fmean(number(row, key) for row in chosen) for key in ("bytes", "error"))
    bar = plan.bars[preset]
    return Claim(
        f"{plan.name}: file and test error, mean of {len(chosen)} seeds at lambda {plan.chosen[preset]:g}",
        "arXiv 1906.06624",
        f"{bar}; published {plan.published}",
        f"{size / 1000:.2f} KB at {error:.2%}",
        size <= bar.size and error <= bar.error,
    )


def _figure(plan: Plan, rows: list[Result]) -> Figure:
    figure, (axis,) = panels(1)
    for colour, held_out in zip(COLOURS[:2], (0, HELD_OUT), strict=True):
        shown = [row for row in rows if row["held_out"] == held_out]
        label = "held-out training digits" if held_out else "test digits"
        x, y = [number(r, "bytes") / 1000 for r in shown], [100 * number(r, "error") for r in shown]
        axis.plot(x, y, "o", color=colour, label=label)
    axis.plot([plan.published.size / 1000], [100 * plan.published.error], "k*", markersize=11, label="published")
    axis.set(xlabel="file, KB", ylabel="error, %", title=plan.name)
    axis.set(xlim=(0, 1.08 * axis.get_xlim()[1]), ylim=(0, 1.08 * axis.get_ylim()[1]))
    axis.legend()
    return figure


def _glorot(net: nn.Module) -> nn.Module:
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def _experiment(plan: Plan) -> Experiment:
    def steps(preset: Preset) -> int:
        per_epoch = 60_000 // Schedule(1).batch
        return (len(SEEDS) + 1) * len(plan.lambdas[preset]) * plan.epochs[preset] * per_epoch

    return Experiment(plan.name, lambda context: _run(plan, context), steps)


EXPERIMENTS = tuple(_experiment(plan) for plan in (DENSE, CONVOLUTIONAL))
