"""The training loop: maximise the bound, log it band by band, survive being killed.

Source of the objective: arXiv 2006.06752 (see `pim.pim.objective`). The recipe is our own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pim._version import VERSION
from pim.core import weights
from pim.core.device import choose
from pim.datasets.crops import Crops, CropSettings
from pim.datasets.frames import collect, find_sources
from pim.errors import TrainingError
from pim.pim import objective
from pim.pim.networks import PIMConfig
from pim.pim.training import batches
from pim.pim.training.network import TrainingNetwork, start_from_data
from pim.pim.training.parallel import Team, join
from pim.pim.training.recipe import recipe_of
from pim.pim.training.settings import TrainSettings
from pim.pim.training.upkeep import (
    Checkpoint,
    check_finite,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    set_rate,
    update_average,
    write_log,
)
from pim.pim.training.weighing import band_weights, check_sources

DEAD = 0.1  # nats below which a band counts as dead
LOG_EVERY = 10  # steps
SAVE_EVERY = 60.0  # seconds between checkpoints
VALIDATION_BATCHES, VALIDATION_BATCH = 4, 256  # more pairs than in training: the bound is tighter


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after a logged step."""

    step: int  # steps done
    fresh: int  # of these, since the last report
    steps: int  # in all
    information: float  # bound, mean over bands, nats
    weakest: float  # the same for the weakest band
    pairs_per_second: float


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    bound: list[float]  # nats per band on held-out clips, with the jitter of training
    bare: list[float]  # the same without jitter
    before: list[float]  # `bound` of the network before its first step
    pairs: int  # held-out pairs behind the three
    batch: int  # of these, told apart at a time; the bound is at most its logarithm
    sources: int  # that were held out
    seconds: float  # of this process

    @property
    def dead(self) -> list[int]:
        """Bands that carry next to nothing, coarsest first."""
        return [i for i, value in enumerate(self.bound) if value < DEAD]


def train(
    footage: Crops | Iterable[str | Path],
    output: str | Path,
    config: PIMConfig | None = None,
    settings: TrainSettings | None = None,
    *,
    cutting: CropSettings | None = None,
    held_out: float = 0.1,
    device: str = "auto",
    half: bool = False,
    compiled: bool = False,
    save_every: float = SAVE_EVERY,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Train a PIM without labels and write its weights; the same call goes on where a killed one stood.

    Settings that are left out are those that the default metric was trained with. Beside the weights
    `NAME.safetensors` stand `NAME.ckpt` (removed at the end) and `NAME.log.csv`.

    Args:
        footage: Video files, folders of videos and folders of frames, or crops that were cut before; those of held-out
            sources are only validated on.
        output: Where the weights go, a .safetensors file; `pim.load` reads it.
        config: The network.
        settings: Objective, batches, optimiser, seed.
        cutting: How crops are taken from footage; those of finished videos are kept.
        held_out: Share of the videos to validate on.
        device: "auto" for a GPU where there is one, else as torch names it; each process of `torchrun` takes its own.
        half: Convolutions in bfloat16; densities stay in float32.
        compiled: Run the network through torch.compile.
        save_every: Seconds between checkpoints.
        watch: Told about progress, in the leading process.

    Returns:
        The bound on held-out footage, in nats for each band.

    Raises:
        DataError: if the footage cannot be read or has no usable crop.
        TrainingError: if there are too few crops, the loss is not finite, or a checkpoint is another run's.
    """
    usual = recipe_of()
    config, settings, cutting = config or usual.config, settings or usual.settings, cutting or usual.cutting
    if not isinstance(footage, Crops):
        footage = collect(find_sources(footage, held_out, cutting.seed), cutting, weights.cache_folder() / "crops")
    run = _Run(footage, Path(output), config, settings, choose(device), half, compiled)
    return run.execute(watch, save_every)


class _Run:
    """State of one training run in one process."""

    def __init__(
        self,
        crops: Crops,
        output: Path,
        config: PIMConfig,
        settings: TrainSettings,
        device: torch.device,
        half: bool,
        compiled: bool,
    ) -> None:
        self.settings, self.config, self.device, self.half = settings, config, device, half
        self.team: Team = join(device)
        if settings.batch % self.team.size:
            raise TrainingError(f"a batch of {settings.batch} cannot be shared by {self.team.size} processes")
        self.train_crops, self.held_out = crops.take(held_out=False), crops.take(held_out=True)
        if len(self.train_crops) < settings.batch:
            raise TrainingError(
                f"{len(self.train_crops)} crops are fewer than a batch of {settings.batch}; add videos, "
                "take more crops from each source, or choose a smaller batch"
            )
        if settings.weigh:
            check_sources(self.train_crops)  # now, not after hours
        self.output = output
        self.checkpoint_file = output.with_suffix(".ckpt")
        self.identity = identity(crops, config, settings, half)
        self.average: dict[str, Tensor] = {}
        self.step, self.log = 0, list[dict[str, float]]()
        self.found = load_checkpoint(self.checkpoint_file, self.identity)
        self.network = self._untrained()
        if self.found is not None:
            self.network.load_state_dict(self.found.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        if self.found is not None:
            self.optimiser.load_state_dict(self.found.optimiser)
            self.average = {name: t.to(device) for name, t in self.found.average.items()}
            self.step, self.log = self.found.step, self.found.log
        elif settings.average:
            self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}
        self.forward = torch.compile(self.network) if compiled else self.network

    def _untrained(self) -> TrainingNetwork:
        settings, cpu = self.settings, torch.device("cpu")
        torch.manual_seed(settings.seed)
        network = TrainingNetwork(self.config, half=self.half)
        start = batches.pairs_at(self.train_crops, settings, batches.START, 0, settings.start_crops // 2, cpu)
        start_from_data(network, torch.cat(start), settings.seed)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def execute(self, watch: Callable[[Progress], None], save_every: float) -> Outcome:
        """All steps that are left, then validation and the weight file."""
        began = saved = time.monotonic()
        first = told = self.step
        while self.step < self.settings.steps:
            row = self._train_step()
            self.step += 1
            now = time.monotonic()
            if self.step % LOG_EVERY == 0 or self.step == self.settings.steps:
                row["pairs_per_second"] = (self.step - first) / (now - began) * self.settings.batch
                self.log.append(row)
                if self.team.leads:
                    watch(self._progress(row, self.step - told))
                told = self.step
            if self.team.leads and now - saved >= save_every and self.step < self.settings.steps:
                self._save()
                saved = now
        if self.average:
            self.network.load_state_dict(self.average)
        outcome = self._outcome(began)
        if self.team.leads:
            self._save()
            self._write(outcome)
        return outcome

    def _outcome(self, began: float) -> Outcome:
        bound, bare = self._validate(self.settings), self._validate(self.settings.bare())
        trained, self.forward = self.forward, self._untrained()
        before = self._validate(self.settings)
        self.forward = trained
        batch, sources = self._validation_batch(), len(set(self.held_out.source.tolist()))
        pairs = VALIDATION_BATCHES * batch if sources else 0
        return Outcome(bound, bare, before, pairs, batch, sources, time.monotonic() - began)

    def _train_step(self) -> dict[str, float]:
        of = self.settings
        rate = learning_rate(self.step, of.steps, of.learning_rate, of.warm_up, of.final_rate)
        set_rate(self.optimiser, rate)
        terms, bound = self._bound(self.train_crops, self.settings, batches.TRAIN, self.step)
        loss = -bound.mean()
        check_finite(loss, self.step, self.checkpoint_file)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(self.network)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimiser.step()
        update_average(self.average, self.network, self.step, self.settings.average)
        if (self.step + 1) % LOG_EVERY and self.step + 1 != self.settings.steps:
            return {}
        return self._row(loss, bound, terms, rate, float(norm))

    def _bound(
        self, crops: Crops, settings: TrainSettings, stream: int, step: int
    ) -> tuple[list[objective.BandTerms], Tensor]:
        share = settings.batch // self.team.size
        mine = slice(self.team.rank * share, (self.team.rank + 1) * share)
        x, y = batches.pairs_at(crops, settings, stream, step, settings.batch, self.device, mine)

        @torch.compiler.disable  # type: ignore[untyped-decorator]  # seeded draws are not for a compiler
        def noise(band: int, shape: torch.Size) -> Tensor:
            whole = torch.Size([settings.batch, *shape[1:]])
            return batches.draw_noise(whole, settings, stream, step, band, mine).to(self.device)

        terms = self.forward(x, y, noise, settings.bound, self.team.gather)
        return terms, objective.bound(terms, settings.bound)

    @torch.no_grad()
    def _validate(self, settings: TrainSettings) -> list[float]:
        """Bound per band on held-out sources, nats; empty without any."""
        if not len(self.held_out):
            return []
        larger = replace(settings, batch=self._validation_batch())
        rows = [self._bound(self.held_out, larger, batches.VALIDATE, i)[1] for i in range(VALIDATION_BATCHES)]
        mean: list[float] = self.team.mean(torch.stack(rows).mean((0, 2))).cpu().tolist()
        return mean

    def _validation_batch(self) -> int:
        return max(self.settings.batch, VALIDATION_BATCH // self.team.size * self.team.size)

    def _row(
        self, loss: Tensor, bound: Tensor, terms: list[objective.BandTerms], rate: float, norm: float
    ) -> dict[str, float]:
        with torch.no_grad():
            conditional = torch.stack([(t.log_joint - 0.5 * (t.log_q_x + t.log_q_y)).mean() for t in terms]).mean()
        row = {"step": float(self.step + 1), "loss": loss.item(), "conditional": float(conditional)}
        row |= {"learning_rate": rate, "gradient_norm": norm}
        return row | {f"band_{i}": float(v) for i, v in enumerate(bound.detach().mean(1))}

    def _progress(self, row: dict[str, float], fresh: int) -> Progress:
        bands = [value for name, value in row.items() if name.startswith("band_")]
        return Progress(self.step, fresh, self.settings.steps, -row["loss"], min(bands), row["pairs_per_second"])

    def _save(self) -> None:
        weights, state = self.network.state_dict(), self.optimiser.state_dict()
        checkpoint = Checkpoint(self.identity, self.step, weights, state, self.average, self.log)
        save_checkpoint(self.checkpoint_file, checkpoint)
        write_log(self.output.with_suffix(".log.csv"), self.log)

    def _write(self, outcome: Outcome) -> None:
        tensors = self.network.pim.state_dict()
        used = sorted({self.train_crops.names[i] for i in self.train_crops.source})
        story = {
            "settings": asdict(self.settings),
            "crops": len(self.train_crops),
            "sources": used,
            "crop_settings": asdict(self.train_crops.settings),
            "bound_held_out": [round(v, 4) for v in outcome.bound],
            "bound_held_out_untrained": [round(v, 4) for v in outcome.before],
            "bound_held_out_bare": [round(v, 4) for v in outcome.bare],
            "steps": self.step,
            "versions": {"pim": VERSION, "torch": torch.__version__},
        }
        config = self.config
        if self.settings.weigh:
            config = replace(config, band_weights=band_weights(self.network.pim, self.train_crops, self.settings))
        weights.write(self.output, tensors, weights.WeightHeader("pim", config.to_dict(), story))
        self.checkpoint_file.unlink(missing_ok=True)


def steps_done(crops: Crops, output: str | Path, config: PIMConfig, settings: TrainSettings, half: bool = False) -> int:
    """Count the steps of a checkpoint of this run, if any; raises TrainingError if it is damaged or another run's."""
    found = load_checkpoint(Path(output).with_suffix(".ckpt"), identity(crops, config, settings, half))
    return 0 if found is None else found.step


def identity(crops: Crops, config: PIMConfig, settings: TrainSettings, half: bool) -> str:
    """What a run is, as JSON: a checkpoint goes on only in the same run."""
    run = {"settings": asdict(settings), "network": config.to_dict(), "crops": crops.fingerprint}
    return json.dumps(run | {"half": half, "version": VERSION})
