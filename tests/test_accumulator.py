"""Means over a validation set, in one process and in two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from eval_toys import MeanAbsolute

import pim
from pim.errors import PimError, UsageError


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three batches of 4, 4 and 3 pairs."""
    random = torch.Generator().manual_seed(0)
    images = [torch.rand(count, 3, 20, 17, generator=random) for count in (4, 4, 4, 4, 3, 3)]
    return list(zip(images[::2], images[1::2], strict=True))


def test_the_mean_is_over_pairs_and_not_over_batches() -> None:
    found = pim.Accumulator(MeanAbsolute())
    for reference, distorted in batches():
        values = found.update(reference, distorted)
        torch.testing.assert_close(values, (reference - distorted).abs().mean((1, 2, 3)))
    each = [float((a - b).abs().mean()) for x, y in batches() for a, b in zip(x, y, strict=True)]
    assert len(each) == 11
    assert found.compute() == pytest.approx(sum(each) / 11, rel=1e-6)


def test_single_pairs_and_prepared_references_count_like_others() -> None:
    metric = MeanAbsolute()
    (x, y), *_ = batches()
    one, two = pim.Accumulator(metric), pim.Accumulator(metric)
    one.update(x, y)
    for a, b in zip(x, y, strict=True):
        two.update(metric.prepare(a), b)
    assert one.compute() == pytest.approx(two.compute(), rel=1e-6)


def test_reset_begins_anew_and_nothing_has_no_mean() -> None:
    found = pim.Accumulator(MeanAbsolute())
    with pytest.raises(UsageError, match="call update"):
        found.compute()
    first, second, _ = batches()
    found.update(*first)
    found.reset()
    found.update(*second)
    assert found.compute() == pytest.approx(float((second[0] - second[1]).abs().mean()), rel=1e-6)


def test_no_history_is_kept() -> None:
    found = pim.Accumulator(MeanAbsolute())
    image = torch.full((2, 3, 8, 8), 0.5, requires_grad=True)
    assert not found.update(image, image.detach() * 0.5).requires_grad


def test_a_value_that_is_no_number_is_an_error_and_no_mean() -> None:
    found = pim.Accumulator(MeanAbsolute(float("nan")))
    found.update(*batches()[0])
    with pytest.raises(PimError, match="pair 1 of 4 is nan"):
        found.compute()


TWO = """
import json, sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from test_accumulator import batches
from eval_toys import MeanAbsolute
import pim

dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[3]), world_size=2)
found = pim.Accumulator(MeanAbsolute())
for number, (reference, distorted) in enumerate(batches()):
    if number % 2 == dist.get_rank():
        found.update(reference, distorted)
print(json.dumps(found.compute()), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_with_unequal_shares_give_the_mean_of_one(tmp_path: Path) -> None:
    alone = pim.Accumulator(MeanAbsolute())
    for reference, distorted in batches():
        alone.update(reference, distorted)
    command = [sys.executable, "-c", TWO, str(Path(__file__).parent), str(tmp_path / "meeting")]
    running = [subprocess.Popen([*command, str(rank)], cwd=ROOT, stdout=subprocess.PIPE) for rank in range(2)]
    found = [json.loads(process.communicate(timeout=240)[0].splitlines()[-1]) for process in running]
    assert found[0] == found[1] == pytest.approx(alone.compute(), rel=1e-9)
