from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_pim import tensor, worst

from pim.pim import laplacian, networks, pyramid

SETS = {"sp0": 1, "sp1": 2, "sp3": 4, "sp5": 6}


@pytest.mark.parametrize("name", SETS)
def test_taps_are_the_published_ones(name, golden):
    theirs, ours = golden("pim_steerable_filters"), pyramid.steerable_filters(name)
    for key, taps in (("lo0filt", ours.lo0), ("hi0filt", ours.hi0), ("lofilt", ours.lo)):
        assert np.array_equal(taps.numpy(), theirs[f"{name}/{key}"])
    frame = (9 - theirs[f"{name}/bfilts"].shape[-1]) // 2
    assert np.array_equal(ours.oriented[:, frame : 9 - frame, frame : 9 - frame].numpy(), theirs[f"{name}/bfilts"])
    assert len(ours.oriented) == SETS[name]


def _cases(arrays):
    """(image key, description) of every stored pyramid."""
    return sorted({key.rsplit("/", 1)[0] for key in arrays if "band." in key})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_bands_equal_the_golden_ones_for_every_set_padding_and_size(golden, dtype, tolerance):
    arrays = golden("pim_bands")
    cases = _cases(arrays)
    assert len(cases) >= 12
    for case in cases:
        size, kind = case.split("/")
        image = tensor(arrays[f"{size}/x"], dtype)
        words = kind.split("_")
        if words[0] == "laplacian":
            bands = laplacian.laplacian(image, laplacian.binomial(), int(words[1][1:]), residual=words[2] == "residual")
        else:
            filters = pyramid.steerable_filters(words[0])
            scales = int(words[2].removeprefix("nscales").removeprefix("n"))
            bands = pyramid.steerable(image, filters, scales, words[1])
        padding = words[1] if words[0] != "laplacian" else "same"
        stored = [key for key in arrays if key.startswith(f"{case}/band.")]
        assert len(bands) == len(stored), case
        for i, band in enumerate(bands):
            theirs = arrays[f"{case}/band.{i}"]
            computed = band.compute(padding)
            assert computed.shape == theirs.shape, (case, i)
            assert worst(computed, theirs) < tolerance, (case, i)


def test_the_frugal_pyramid_is_the_same_pyramid(random_images, monkeypatch):
    monkeypatch.setattr(pyramid, "STRIP", 400)  # strips of a few rows, odd sizes, several levels
    image = random_images(2, 77, 51, dtype=torch.float64)
    filters = pyramid.steerable_filters("sp3")
    plain = pyramid.steerable(image, filters, 3)
    frugal = pyramid.steerable(image, filters, 3, frugal=True)
    for a, b in zip(plain, frugal, strict=True):
        torch.testing.assert_close(a.compute(), b.compute(), rtol=0, atol=1e-13)


def test_bands_are_coarsest_first_with_orientations_reversed():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 1  # a vertical edge: the horizontal derivative answers, which is orientation 0 of sp1
    bands = [b.compute() for b in pyramid.steerable(image, pyramid.steerable_filters("sp1"), 3)]
    assert [b.shape[-1] for b in bands] == [8, 16, 16, 32, 32, 64, 64, 64]
    inner = slice(12, 20)
    answers = [b[..., inner, 16].abs().max() for b in (bands[3], bands[4])]
    assert answers[1] > 100 * answers[0]


def test_correlate_does_not_flip_the_taps():
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[..., 2, 2] = 1
    taps = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(pyramid.correlate(impulse, taps)[0, 0, 1:4, 1:4], taps.flip(0, 1))


@pytest.mark.parametrize("size", [(12, 18), (13, 17), (2, 1)])
def test_the_gradient_strength_is_the_root_of_the_mean_square_in_each_block(size, random_images, monkeypatch):
    image = random_images(2, *size, dtype=torch.float64)
    squares = np.zeros(image.shape)
    squares[..., :-1] += np.diff(image.numpy(), axis=3) ** 2
    squares[..., :-1, :] += np.diff(image.numpy(), axis=2) ** 2
    for side in (2, 3):
        rows = range(0, size[0], side)
        blocks = [[squares[:, :, r : r + side, c : c + side] for c in range(0, size[1], side)] for r in rows]
        means = np.stack([np.stack([b.mean((2, 3)) for b in row], -1) for row in blocks], -2)
        found = pyramid.gradient_strength(image, side)
        np.testing.assert_allclose(found, np.sqrt(means / 2 + pyramid.FLAT**2), rtol=1e-12)
        monkeypatch.setattr(pyramid, "STRIP", 40)
        torch.testing.assert_close(pyramid.gradient_strength(image, side, frugal=True), found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_borders_are_repeated(stride, random_images):
    image, taps = random_images(2, 13, 10, dtype=torch.float64), pyramid.steerable_filters("sp1").lo0
    around = np.pad(image.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (9, 9), axis=(2, 3))[:, :, ::stride, ::stride]
    wanted = np.einsum("ncyxij,ij->ncyx", windows, taps.numpy())
    np.testing.assert_allclose(pyramid.correlate(image, taps, "replicate", stride), wanted, rtol=0, atol=1e-12)
    around = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    sums = np.lib.stride_tricks.sliding_window_view(around, (5, 5), axis=(2, 3)).sum((4, 5))
    np.testing.assert_allclose(networks.window_sums(image, 5, "replicate"), sums, rtol=1e-12)


@pytest.mark.parametrize("name", ["sp0", "sp1", "sp3", "sp5"])
@pytest.mark.parametrize("size", [(64, 48), (53, 39), (5, 1)])
@pytest.mark.parametrize("padding", ["same", "replicate"])
def test_filters_by_phases_are_the_filters(name, size, padding, random_images):
    filters = pyramid.steerable_filters(name)
    image = random_images(2, *size)
    for taps, stride in ((filters.lo0, 1), (filters.hi0, 1), (filters.lo, 2), (filters.oriented[0], 1)):
        assert pyramid._phases_pay(image, taps) == (taps.shape[-1] >= 7)
        pyramid._phase_taps.cache_clear()
        with torch.inference_mode():
            fast = pyramid.correlate(image, taps, padding, stride)
        exact = pyramid.correlate(image.double(), taps, padding, stride)
        assert fast.shape == exact.shape
        torch.testing.assert_close(fast.double(), exact, rtol=0, atol=2e-6)
        changed = image.clone().requires_grad_()
        pyramid.correlate(changed, taps, padding, stride).square().sum().backward()
        exactly = image.double().requires_grad_()
        pyramid.correlate(exactly, taps, padding, stride).square().sum().backward()
        torch.testing.assert_close(changed.grad.double(), exactly.grad, rtol=0, atol=2e-5)


@pytest.mark.parametrize("padding", ["same", "replicate", "valid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)  # convolutions over phases, or plain ones
def test_several_filters_at_once_give_what_each_of_them_gives(random_images, padding, dtype):
    image = random_images(2, 37, 45, dtype=dtype)
    bank = pyramid.steerable_filters("sp3").oriented
    each = [pyramid.correlate(image, taps, padding) for taps in bank.unbind(0)]
    torch.testing.assert_close(pyramid.correlate(image, bank, padding), torch.cat(each, 1), rtol=0, atol=1e-6)
