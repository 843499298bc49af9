"""The criterion for codecs that others wrote: against the formula, and in the real training of CompressAI."""

from __future__ import annotations

import importlib
import re
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from ntc.losses import KEYS, PerceptualRateDistortion
from pim.errors import InputError, UsageError
from pim.loss import Distortion


class Fake(nn.Module):
    """Returns what a codec with a hyperprior returns."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Conv2d(3, 3, 3, padding=1)
        self.odds = nn.Parameter(torch.zeros(2))

    def forward(self, image: Tensor) -> dict[str, object]:
        count = len(image)
        y = self.odds[0].sigmoid().expand(count, 5, 4, 3)
        z = self.odds[1].sigmoid().expand(count, 2, 1, 1)
        return {"x_hat": self.decoder(image), "likelihoods": {"y": y, "z": z}}


@pytest.fixture
def images(random_images) -> Tensor:
    return random_images(2, 48, 41)


@pytest.fixture
def criterion() -> PerceptualRateDistortion:
    return PerceptualRateDistortion("pim", lmbda=0.02)


def test_the_loss_is_bits_per_pixel_and_weighted_distortion(images, criterion) -> None:
    torch.manual_seed(0)
    output = Fake()(images)
    found = criterion(output, images)
    assert tuple(found) == KEYS
    probabilities = np.concatenate([p.detach().numpy().ravel() for p in output["likelihoods"].values()])
    rate = -np.log2(probabilities.astype(np.float64)).sum() / (2 * 48 * 41)
    error = ((output["x_hat"] - images).detach().numpy().astype(np.float64) ** 2).mean()
    assert found["bpp_loss"].item() == pytest.approx(rate, rel=1e-6)
    assert found["mse_loss"].item() == pytest.approx(error, rel=1e-6)
    perceptual = criterion.distortion.metric(images, output["x_hat"].clamp(0, 1)).mean().item()
    assert found["perceptual_loss"].item() == pytest.approx(perceptual, rel=1e-6)
    distortion = criterion.distortion.mse_weight * error + criterion.distortion.weight * perceptual
    assert found["loss"].item() == pytest.approx(rate + 0.02 * 255**2 * distortion, rel=1e-6)


def test_every_part_of_a_codec_gets_a_gradient_and_the_metric_none(images, criterion) -> None:
    model = Fake()
    criterion(model(images), images)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in model.parameters())
    assert list(criterion.parameters()) == []
    assert criterion.state_dict() == {}


def test_one_key_can_be_returned_alone(images) -> None:
    output = Fake()(images)
    every = PerceptualRateDistortion("pim")(output, images)
    for key in KEYS:
        assert torch.equal(PerceptualRateDistortion("pim", return_type=key)(output, images), every[key])


def test_half_precision_likelihoods_are_summed_in_float32(images, criterion) -> None:
    output = Fake()(images)
    output["likelihoods"] = {"y": torch.full((2, 64, 32, 32), 0.5).half()}
    assert criterion(output, images)["bpp_loss"].item() == pytest.approx(64 * 32 * 32 / (48 * 41), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lmbda": 0.0}, "lmbda must be above 0"),
        ({"return_type": "los"}, "did you mean 'loss'"),
        ({"distortion": "psnr"}, "psnr has no largest value"),
    ],
)
def test_what_cannot_be_right_is_refused(arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        PerceptualRateDistortion(**{"distortion": "pim", **arguments})


def test_output_and_target_are_checked(images, criterion) -> None:
    output = Fake()(images)
    with pytest.raises(UsageError, match="must have 'likelihoods'; it has 'x_hat'"):
        criterion({"x_hat": output["x_hat"]}, images)
    with pytest.raises(InputError, match="divide 8-bit images by 255"):
        criterion(output, 255 * images)


@pytest.fixture(scope="module")
def compressai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torch in ways that are deprecated
        package = pytest.importorskip("compressai", reason="the package compressai is not here")
        for part in ("losses", "models"):
            importlib.import_module(f"compressai.{part}")
    return package


def test_with_the_mse_alone_it_is_the_criterion_of_compressai(compressai, images) -> None:
    torch.manual_seed(0)
    output = Fake()(images)
    theirs = compressai.losses.RateDistortionLoss(lmbda=0.013)(output, images)
    ours = PerceptualRateDistortion(Distortion("pim", mse_weight=1.0), lmbda=0.013)(output, images)
    assert {"loss", "bpp_loss", "mse_loss"} <= set(theirs)
    for key, value in theirs.items():
        assert ours[key].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.slow
def test_a_model_of_compressai_trains_with_one_line_changed(compressai, random_images) -> None:
    torch.manual_seed(0)
    model = compressai.models.ScaleHyperprior(8, 12).train()
    criterion = PerceptualRateDistortion("pim", lmbda=0.01)
    main = [p for name, p in model.named_parameters() if not name.endswith(".quantiles")]
    rest = [p for name, p in model.named_parameters() if name.endswith(".quantiles")]
    optimiser, auxiliary = torch.optim.Adam(main, 1e-3), torch.optim.Adam(rest, 1e-3)
    images = random_images(2, 64, 128)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        auxiliary.zero_grad()
        found = criterion(model(images), images)
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.aux_loss().backward()
        auxiliary.step()
        losses.append(found["loss"].item())
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(p.grad).all() for p in main)


@pytest.mark.slow
def test_the_ten_lines_of_the_document_train_a_model_of_compressai(compressai) -> None:
    text = (ROOT / "docs" / "training-loss.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    ran: dict[str, object] = {}
    exec(compile(code, "docs/training-loss.md", "exec"), ran)
    assert sorted(ran["found"]) == sorted(KEYS)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, float("nan"), float("inf")])
def test_likelihoods_that_are_no_probabilities_are_named(images, criterion, value) -> None:
    output = Fake()(images)
    output["likelihoods"]["z"] = output["likelihoods"]["z"].detach().clone()
    output["likelihoods"]["z"][0, 0] = value
    with pytest.raises(InputError, match="likelihoods of 'z' must be above 0 and at most 1; 1 of 4 are not"):
        criterion(output, images)


@pytest.mark.parametrize("likelihoods", [[], {}, None, torch.ones(2), {"y": torch.ones(2, dtype=torch.int64)}])
def test_what_came_in_place_of_likelihoods_is_told(images, criterion, likelihoods) -> None:
    with pytest.raises(UsageError, match="likelihoods must be tensors of probabilities by name"):
        criterion({"x_hat": images, "likelihoods": likelihoods}, images)
    with pytest.raises(UsageError, match="output must be a mapping"):
        criterion(images, {})
