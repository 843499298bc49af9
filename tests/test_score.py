"""`pim.score`: any number of pairs of any form, in order, in bounded memory, with failures kept apart."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_toys import MeanAbsolute
from PIL import Image

import pim
from pim.errors import PimError, UsageError
from pim.metrics.classics import PSNR
from pim.scoring.pairs import Pair

SHAPE = (22, 27, 3)


def pictures(count: int, shape: tuple[int, int, int] = SHAPE) -> list[np.ndarray]:
    """Random 8-bit pictures."""
    random = np.random.default_rng(4)
    return [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean() / 255)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (1, 2), (3, 2), (100, 1)])
def test_pairs_of_every_form_come_back_in_their_order(tmp_path: Path, batch_size: int, workers: int) -> None:
    made = pictures(10)
    for number, array in enumerate(made):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    names = [str(tmp_path / f"{number}.png") for number in range(10)]
    tensors = [torch.from_numpy(array).permute(2, 0, 1) / 255 for array in made]
    given = [
        (names[0], Path(names[1])),
        (made[2], Image.fromarray(made[3])),
        (tensors[4], tensors[5][None]),
        Pair("a", "b", names[6], names[7]),
        (made[8].astype(np.float32) / 255, names[9]),
    ]
    found = list(pim.score(given, [MeanAbsolute(), "psnr"], device="cpu", batch_size=batch_size, workers=workers))
    assert [score.pair for score in found] == given
    for number, score in enumerate(found):
        a, b = made[2 * number], made[2 * number + 1]
        assert score.values["mean-absolute"] == pytest.approx(difference(a, b), rel=1e-5)
        assert score.values["psnr"] == pytest.approx(pim.distance(a, b, "psnr"), rel=1e-6)
        assert (score.errors, score.identical) == ({}, False)


def test_a_pair_that_fails_ends_nothing_and_says_why(tmp_path: Path) -> None:
    a, b, c, d = pictures(4)
    given = [(a, b), (a, str(tmp_path / "missing.png")), (a[:9], b), (None, d), (c, c), (c, d)]
    found = list(pim.score(given, ["psnr", MeanAbsolute()], device="cpu", batch_size=4))
    assert [len(score.values) for score in found] == [2, 0, 0, 0, 2, 2]
    reasons = [str(score.errors["psnr"]) for score in found[1:4]]
    assert "missing.png does not exist" in reasons[0]
    assert reasons[1] == "pair 2[distorted] is 27 x 22 pixels, its reference pair 2[reference] is 27 x 9"
    assert "NoneType" in reasons[2]
    assert found[4].values["psnr"] == float("inf")
    assert found[4].identical is True


def test_a_distorted_picture_of_another_size_is_resized_on_demand() -> None:
    a, b = pictures(2)[0], np.full((44, 54, 3), 128, np.uint8)
    (score,) = pim.score([(a, b)], MeanAbsolute(), device="cpu", resize=True)
    assert score.resized_from == (54, 44)
    assert score.values["mean-absolute"] == pytest.approx(difference(a, np.full(SHAPE, 128)), rel=1e-4)


def test_pairs_are_read_only_a_little_ahead_and_memory_stays_bounded() -> None:
    made = 0

    def endless() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal made
        while True:
            made += 1
            yield np.full((64, 64, 3), made % 251, np.uint8), np.zeros((64, 64, 3), np.uint8)

    stream = pim.score(endless(), MeanAbsolute(), device="cpu", batch_size=4)
    for number, score in enumerate(itertools.islice(stream, 200), start=1):
        assert score.values["mean-absolute"] == pytest.approx(number % 251 / 255, rel=1e-5)
        assert made <= number + 24
        if number == 100:
            tracemalloc.start()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stream.close()
    assert peak < 100 * 2 * 64 * 64 * 3 * 4 / 2  # not half of what the pictures of these pairs take


def test_a_reference_that_comes_again_is_analysed_once_and_a_picture_on_either_side_too() -> None:
    a, b, c, d = pictures(4)
    metric = MeanAbsolute()
    found = list(pim.score([(a, b), (a, c), (a, d)], metric, device="cpu", batch_size=3))
    assert metric.prepared == 1
    assert [score.values["mean-absolute"] for score in found] == pytest.approx(
        [difference(a, other) for other in (b, c, d)], rel=1e-5
    )
    chain = MeanAbsolute()
    found = list(pim.score([(a, b), (b, c), (c, d)], chain, device="cpu"))
    assert chain.prepared == 3  # a, b and c; d meets nobody else
    assert [score.values["mean-absolute"] for score in found] == pytest.approx(
        [difference(a, b), difference(b, c), difference(c, d)], rel=1e-5
    )


class Greedy(MeanAbsolute):
    """Needs more memory than there is for more than `most` pictures, or for bright ones."""

    def __init__(self, most: int, error: type[Exception]) -> None:
        super().__init__()
        self.most, self.error, self.sizes = most, error, list[int]()

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(distorted))
        if len(distorted) > self.most or float(distorted.amin((1, 2, 3)).max()) > 0.9:
            raise self.error("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
        return super()._compare(features, distorted)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_a_batch_that_does_not_fit_is_halved_and_a_pair_that_never_does_is_named(error: type[Exception]) -> None:
    made = pictures(16)
    made[5] = np.full(SHAPE, 250, np.uint8)
    metric = Greedy(3, error)
    given = list(zip(made[::2], made[1::2], strict=True))
    found = list(pim.score(given, metric, device="cpu", batch_size=8))
    assert metric.sizes[:3] == [8, 4, 2]
    for number, score in enumerate(found):
        if number == 2:
            said = str(score.errors["mean-absolute"])
            assert said.startswith("pair 2[distorted] against pair 2[reference]: not enough memory for 27 x 22 pixels")
            assert said.endswith("7 bytes more were needed")
        else:
            assert score.values["mean-absolute"] == pytest.approx(difference(*given[number]), rel=1e-5)


def test_a_fault_of_a_program_is_no_failure_of_a_pair() -> None:
    class Faulty(MeanAbsolute):
        def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("sizes of tensors must match")

    a, b = pictures(2)
    with pytest.raises(RuntimeError, match="must match"):
        list(pim.score([(a, b)], Faulty(), device="cpu"))


def test_what_cannot_be_right_is_refused_at_once() -> None:
    a, b = pictures(2)
    with pytest.raises(UsageError, match="unknown metric 'ssmi'"):
        pim.score([(a, b)], "ssmi")
    with pytest.raises(UsageError, match="two metrics are called 'psnr'"):
        pim.score([(a, b)], ["psnr", PSNR()])
    with pytest.raises(PimError, match="cuda:77"):
        pim.score([(a, b)], "psnr", device="cuda:77")
    with pytest.raises(UsageError, match="pair 1 must be"):
        list(pim.score([(a, b), a], "psnr", device="cpu"))


def test_the_device_is_that_which_was_asked_for() -> None:
    a = pictures(1)[0]
    with pytest.raises(UsageError, match="cuda:77"):
        pim.distance(a, a, PSNR(), device="cuda:77")
    on_meta = PSNR()
    assert pim.distance(a, a, on_meta, device="cpu") == float("inf")


def test_dir_shows_what_is_public_without_importing_it() -> None:
    assert set(pim.__all__) <= set(dir(pim))
    assert len(set(pim.__all__)) == len(pim.__all__)
    for name in pim.__all__:
        assert getattr(pim, name) is not None
