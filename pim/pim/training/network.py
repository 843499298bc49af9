"""A PIM together with the joint encoders that only training needs, and its data-dependent start.

Source of the start: own work, in the spirit of data-dependent initialisation (Krähenbühl et al.,
arXiv 1511.06856): the finest bands carry numbers 50 times smaller than the low-pass, so with a plain
start most bands carry no information and never recover.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pim.pim import objective
from pim.pim.model import PIM
from pim.pim.networks import Modules, PIMConfig, convolve, dense, glorot_, linear, per_position
from pim.pim.objective import BandTerms, BoundForm

Gather = Callable[[Tensor], Tensor]
JOINT_SPREAD = 0.05  # deviation of the first joint gains and offsets around "joint = marginal"
MILD = 3.0  # first constant of divisive normalisation, in units of the band's own strength
MEAN_LEFT = 0.5  # mean of the ReLU inputs at the start, in deviations: most units live


class JointEncoder(nn.Module):
    """The mean of p(z|x,y) at every position of a band.

    Layer i: h = relu(W_i h + b_i), then h * (A_i f_y + a_i) + (B_i f_y + c_i), where h starts as the
    features of x and f_y are the features of y. Not symmetric in x and y.
    """

    def __init__(self, config: PIMConfig) -> None:
        super().__init__()
        features = config.filters[-1]
        layers = max(1, config.encoder_layers)
        self.base = dense(features, config.latent, layers)
        self.mul = Modules(linear(features, config.latent) for _ in range(layers))
        self.add = Modules(linear(features, config.latent) for _ in range(layers))

    def forward(self, features_x: Tensor, features_y: Tensor) -> Tensor:
        """Features (N, C, h, w) of both images -> mean (N, D, h, w)."""
        hidden = features_x
        for base, mul, add in zip(self.base, self.mul, self.add, strict=True):
            hidden = F.relu(per_position(base, hidden))
            hidden = hidden * per_position(mul, features_y) + per_position(add, features_y)
        return hidden


class TrainingNetwork(nn.Module):
    """Band networks and marginal encoders of a PIM, plus one joint encoder p(z|x,y) per band."""

    def __init__(self, config: PIMConfig, *, half: bool = False) -> None:
        """Random weights; with `half` the convolutions of the bands run in bfloat16."""
        super().__init__()
        self.low_precision = half
        # On windows this small, repeated borders teach the networks less (docs/training-study.md).
        inner = replace(config, padding="same") if config.padding == "replicate" else config
        self.pim = PIM(inner)
        self.joint = Modules(JointEncoder(config) for _ in range(config.bands))
        glorot_(self.joint)

    def forward(
        self, x: Tensor, y: Tensor, noise: Callable[[int, torch.Size], Tensor], form: BoundForm, gather: Gather
    ) -> list[BandTerms]:
        """Compute the terms of the bound, band by band, from both frames of pairs, (N, 3, H, W), for `of_crops`.

        `noise` is standard normal, for a band and a shape (N, D, h, w); `gather` collects such means of all processes.
        """
        terms = []
        bands = self.pim.pyramid.of_crops(torch.cat([x, y]))
        for i, lazy in enumerate(bands):
            band = self.pim.normalised(i, lazy)
            # Only here: the finest bands and the densities need all digits.
            with torch.autocast(x.device.type, dtype=torch.bfloat16) if self.low_precision else nullcontext():
                features = convolve(self.pim.cnn[i], band)
            features = features.float() if self.low_precision else features
            f_x, f_y = features.chunk(2)
            q = self.pim.marginal[i](features)
            (q_x, q_y) = q.split(len(x))
            mean = self.joint[i](f_x, f_y)
            z = mean + noise(i, mean.shape)
            terms.append(objective.band_terms(z, q_x, q_y, mean, gather(mean), form))
        return terms


@torch.no_grad()
def start_from_data(network: TrainingNetwork, images: Tensor, seed: int) -> None:
    """Scale every layer, band by band, so that its outputs on about 100 real crops (N, 3, H, W) have unit variance.

    Convolutions and dense layers get zero mean, except that ReLU inputs keep a little mean so that
    units live. The joint encoder starts as a copy of the first component of the marginal path, so
    that p(z|x,y) begins close to q(z|x); the seed draws its small weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for i, band in enumerate(network.pim.pyramid.of_crops(images)):
        if network.pim.config.surround and i:
            surround = network.pim.surround[i - 1]
            energies = surround.energy(band.compute(network.pim.config.padding)).transpose(0, 1).contiguous()
            starts = [math.log(MILD) + 0.5 * float(energy.mean().log()) for energy in energies]
            surround.log_constant.copy_(torch.tensor(starts).reshape(surround.log_constant.shape))
        hidden = network.pim.normalised(i, band)
        for j, layer in enumerate(network.pim.cnn[i]):
            _normalise(layer, layer(hidden), 0.0)
            hidden = layer(hidden)
            if j < len(network.pim.cnn[i]) - 1:
                hidden = hidden.relu()
        _start_marginal(network, i, hidden)
        _start_joint(network, i, generator)


def _start_marginal(network: TrainingNetwork, index: int, features: Tensor) -> None:
    marginal = network.pim.marginal[index]
    for hidden_layers, last in ((marginal.base, marginal.mus), (marginal.mix, marginal.logit)):
        hidden = features
        for layer in hidden_layers:
            _normalise(layer, per_position(layer, hidden), MEAN_LEFT)
            hidden = per_position(layer, hidden).relu()
        if last is not None:
            _normalise(last, per_position(last, hidden), 0.0)


def _start_joint(network: TrainingNetwork, index: int, generator: torch.Generator) -> None:
    marginal, joint = network.pim.marginal[index], network.joint[index]
    units = network.pim.config.latent
    for i, (base, mul, add) in enumerate(zip(joint.base, joint.mul, joint.add, strict=True)):
        if i < len(marginal.base):
            source = marginal.base[i]
            base.weight.copy_(source.weight[:units, : base.in_features])
            base.bias.copy_(source.bias[:units])
        for layer, centre in ((mul, 1.0), (add, 0.0)):
            layer.weight.normal_(0.0, JOINT_SPREAD, generator=generator)
            layer.bias.fill_(centre)


def _normalise(layer: nn.Conv2d | nn.Linear, output: Tensor, mean: float) -> None:
    """Rescale a layer so that each output channel gets unit variance and the given mean on this data."""
    over = (0, 2, 3)
    deviation = output.std(over).clamp_min(1e-8)
    centre = output.mean(over)
    layer.weight.div_(deviation.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.copy_((layer.bias - centre) / deviation + mean)
