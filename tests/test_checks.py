from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pim.core import metric as checks
from pim.errors import InputError, PimError

HEIGHT, WIDTH = 12, 17


@pytest.fixture
def image(random_images) -> torch.Tensor:
    return random_images(2, HEIGHT, WIDTH)


@pytest.fixture
def unchecked() -> Iterator[None]:
    checks.check_range(False)
    yield
    checks.check_range(True)


WRONG_FORM = {
    "8-bit integers": (lambda x: (x * 255).byte(), r"reference must be floating point.*uint8: .*float\(\) / 255"),
    "other integers": (lambda x: (x * 255).long(), r"got int64: convert to float in \[0, 1\]"),
    "NHWC": (lambda x: x.permute(0, 2, 3, 1), r"got \(2, 12, 17, 3\): .*permute\(0, 3, 1, 2\)"),
    "gray batch": (lambda x: x[:, :1], r"got \(2, 1, 12, 17\): .*expand\(-1, 3, -1, -1\)"),
    "HWC": (lambda x: x[0].permute(1, 2, 0), r"got \(12, 17, 3\): .*permute\(2, 0, 1\)"),
    "gray image": (lambda x: x[0, :1], r"got \(1, 12, 17\): .*expand\(3, -1, -1\)"),
    "eight-bit floats": (lambda x: x.to(torch.float8_e4m3fn), r"got float8_e4m3fn: convert to float in \[0, 1\]"),
    "gray without channel": (lambda x: x[0, 0], r"got \(12, 17\); a gray image needs expand\(3, -1, -1\)"),
    "transparent": (lambda x: x[:, [0, 1, 2, 2]], r"got \(2, 4, 12, 17\): three colour channels"),
    "video": (lambda x: x[None], r"must have shape \(N, 3, H, W\) or \(3, H, W\); got \(1, 2, 3, 12, 17\)"),
    "empty batch": (lambda x: x[:0], r"is empty; got shape \(0, 3, 12, 17\)"),
    "no pixels": (lambda x: x[..., :0], r"is empty; got shape \(2, 3, 12, 0\)"),
    "array": (lambda x: x.numpy(), "must be a tensor; got ndarray. pim.distance takes files and arrays"),
    "path": (lambda x: "a.png", "must be a tensor; got str"),
}

WRONG_RANGE = {
    "0..255": (lambda x: x * 255, r"got values from .* It looks like 0\.\.255: divide 8-bit images by 255"),
    "[-1, 1]": (lambda x: x * 2 - 1, r"It looks like \[-1, 1\]: use \(image \+ 1\) / 2"),
    "overshoot": (lambda x: x + 0.3, "Clamp it"),
    "undershoot": (lambda x: x - 0.2, "Clamp it"),
    "one NaN": (lambda x: _with(x, float("nan")), "contains NaN"),
    "one infinity": (lambda x: _with(x, float("inf")), "contains infinite values"),
    "one minus infinity": (lambda x: _with(x, -float("inf")), "contains infinite values"),
}


def _with(image: torch.Tensor, value: float) -> torch.Tensor:
    changed = image.clone()
    changed[1, 2, 3, 4] = value
    return changed


@pytest.mark.parametrize("mistake", WRONG_FORM)
def test_a_tensor_of_the_wrong_form_is_refused_with_the_likely_cause(image, mistake) -> None:
    spoil, message = WRONG_FORM[mistake]
    with pytest.raises(InputError, match=message):
        checks.as_batch(spoil(image), "reference")


@pytest.mark.parametrize("mistake", WRONG_RANGE)
@pytest.mark.parametrize("which", ["reference", "distorted"])
def test_values_of_the_wrong_range_are_refused_with_the_likely_cause(image, mistake, which) -> None:
    spoil, message = WRONG_RANGE[mistake]
    pair = {"reference": image, "distorted": image}
    with pytest.raises(InputError, match=f"^{which} .*{message}"):
        checks.check_values({**pair, which: spoil(image)})


def test_a_half_dark_image_of_the_range_minus_one_to_one_is_still_called_that(image) -> None:
    with pytest.raises(InputError, match=r"It looks like \[-1, 1\]"):
        checks.check_values({"reference": image * 0.7 - 0.4})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_outside_by_a_thousandth_are_rounding_and_by_more_are_not(image, dtype) -> None:
    for edge in (-1e-3, 1 + 1e-3):
        checks.check_values({"reference": _with(image.to(dtype), edge)})
    for beyond in (-1.2e-3, 1 + 9e-3):
        with pytest.raises(InputError):
            checks.check_values({"reference": _with(image.to(dtype), beyond)})


def test_a_single_image_becomes_a_batch_that_shares_its_memory(image) -> None:
    batch = checks.as_batch(image[0], "reference")
    assert batch.shape == (1, 3, HEIGHT, WIDTH)
    assert batch.data_ptr() == image[0].data_ptr()
    assert checks.as_batch(image, "reference") is image


@pytest.mark.parametrize("shape", [(2, 3, 12, 16), (2, 3, 11, 17), (1, 3, 12, 17), (8, 3, 12, 17)])
def test_unequal_sizes_and_batches_are_refused_and_both_are_named(image, shape) -> None:
    with pytest.raises(InputError, match=r"shape of reference, \(2, 3, 12, 17\); got \(" + str(shape)[1:-1]):
        checks.check_pair(tuple(image.shape), torch.zeros(shape), image.device)


def test_unequal_devices_are_refused_and_both_are_named(image) -> None:
    with pytest.raises(InputError, match="device of reference, cpu; got meta"):
        checks.check_pair(tuple(image.shape), image.to("meta"), image.device)


def test_the_smallest_size_is_allowed_and_one_pixel_less_is_refused(image) -> None:
    checks.check_size(image, "reference", "toy", HEIGHT)
    with pytest.raises(InputError, match="at least 13 pixels for toy; reference is 17 x 12"):
        checks.check_size(image, "reference", "toy", HEIGHT + 1)


@pytest.mark.usefixtures("unchecked")
def test_the_range_check_can_be_switched_off(image) -> None:
    checks.check_values({"reference": image * 255})


def test_the_range_check_is_on_by_default(image) -> None:
    with pytest.raises(PimError):
        checks.check_values({"reference": image * 255})
