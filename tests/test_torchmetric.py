"""The mean of a metric as a `torchmetrics.Metric`: alone, in a collection, in two processes, and in examples."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from eval_toys import MeanAbsolute
from test_accumulator import batches

import pim
from pim.errors import InputError, PimError, UsageError

torchmetrics = pytest.importorskip("torchmetrics")


def expected() -> float:
    each = [float((a - b).abs().mean()) for x, y in batches() for a, b in zip(x, y, strict=True)]
    return sum(each) / len(each)


def test_the_mean_is_that_of_the_accumulator_and_over_pairs() -> None:
    found, other = pim.TorchMetric(MeanAbsolute()), pim.Accumulator(MeanAbsolute())
    assert isinstance(found, torchmetrics.Metric)
    for reference, distorted in batches():
        found.update(distorted, reference)
        other.update(reference, distorted)
    assert float(found.compute()) == pytest.approx(other.compute(), rel=1e-12)
    assert float(found.compute()) == pytest.approx(expected(), rel=1e-6)
    found.reset()
    with pytest.raises(UsageError, match="call update"), pytest.warns(UserWarning, match="before the ``update``"):
        found.compute()


def test_what_a_network_made_comes_first() -> None:
    (reference, distorted), *_ = batches()

    class First(MeanAbsolute):
        def _pair(self, reference: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
            return reference.mean((1, 2, 3))

    found = pim.TorchMetric(First())
    found.update(preds=distorted, target=reference)
    assert float(found.compute()) == pytest.approx(float(reference.mean()), rel=1e-6)


def test_every_step_gives_its_own_mean_and_a_collection_gives_several() -> None:
    together = torchmetrics.MetricCollection(
        {"pim": pim.TorchMetric("psnr"), "theirs": torchmetrics.image.PeakSignalNoiseRatio(1.0, dim=(1, 2, 3))}
    )
    for reference, distorted in batches():
        step = together(distorted, reference)
        torch.testing.assert_close(step["pim"].float(), step["theirs"])
    whole = together.compute()
    assert together["pim"].higher_is_better
    assert float(whole["pim"]) == pytest.approx(float(whole["theirs"]), rel=1e-6)


def test_the_checker_of_torchmetrics_finds_that_batches_can_be_merged(capsys: pytest.CaptureFixture[str]) -> None:
    reference, distorted = batches()[0]
    torchmetrics.utilities.checks.check_forward_full_state_property(
        pim.TorchMetric,
        init_args={"metric": MeanAbsolute()},
        input_args={"preds": distorted, "target": reference},
        num_update_to_compare=(2, 3),
        reps=2,
    )
    assert "Partial state for 3 steps took" in capsys.readouterr().out  # both ways gave the same, so they were timed


def test_copies_pickles_and_states_hold_what_was_measured_and_no_weights(tiny_pim: Path) -> None:
    image = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    found = pim.TorchMetric(str(tiny_pim))
    found.update(image, image.flip(0))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found.clone()):
        assert torch.equal(other.compute(), found.compute())
    assert list(found.parameters()) == []
    assert list(found.state_dict()) == []
    found.half().train()
    assert found.metric.training is False
    assert float(found.compute()) > 0


def test_wrong_images_and_values_that_are_no_numbers_are_errors() -> None:
    (reference, distorted), *_ = batches()
    found = pim.TorchMetric(MeanAbsolute(float("nan")))
    with pytest.raises(InputError, match="0, 1"):
        found.update(distorted * 255, reference)
    found.update(distorted, reference)
    with pytest.raises(PimError, match="the mean of 4 pairs is nan"):
        found.compute()


TWO = """
import json, sys
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from test_accumulator import batches
from eval_toys import MeanAbsolute
import pim

dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[3]), world_size=2)
both = [pim.TorchMetric(MeanAbsolute()), pim.TorchMetric(MeanAbsolute(), sync_on_compute=False)]
for number, (reference, distorted) in enumerate(batches()):
    if number % 2 == dist.get_rank():
        for found in both:
            found.update(distorted, reference)
print(json.dumps([float(found.compute()) for found in both]), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_mean_of_both_and_keep_their_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO, str(Path(__file__).parent), str(tmp_path / "meeting")]
    running = [subprocess.Popen([*command, str(rank)], cwd=ROOT, stdout=subprocess.PIPE) for rank in range(2)]
    (first, own), (second, other) = (json.loads(p.communicate(timeout=120)[0].splitlines()[-1]) for p in running)
    assert first == second == pytest.approx(expected(), rel=1e-6)
    assert own != other
    assert 7 * own + 4 * other == pytest.approx(11 * first, rel=1e-6)  # the pairs of each


def example(*command: object) -> tuple[float, float]:
    """What an example prints of the distance before and after."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done: Any = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r"pim before ([\d.]+), after ([\d.]+)", done.stdout)
    return float(found[0]), float(found[1])


@pytest.mark.slow
def test_the_example_of_ddp_trains_in_two_processes() -> None:
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    before, after = example(*run, "examples/train_ddp.py", "examples/reference.png", "--epochs", 6)
    assert after < 0.9 * before


@pytest.mark.slow
def test_the_example_of_lightning_trains() -> None:
    pytest.importorskip("lightning")
    before, after = example("examples/train_lightning.py", "examples/reference.png", "--epochs", 4)
    assert after < 0.9 * before
