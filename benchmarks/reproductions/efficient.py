"""Decoders that compute less: gates on channels, a price on what each costs, and the smaller network that is left.

Source: Johnston, Eban, Gordon, Ballé, "Computationally Efficient Neural Image Compression", arXiv 1912.08771:
group-lasso regularisation weighted by cost, pruning, training again. Deviation: a gate is a number for each
channel in front of the nonlinearity, so that a closed one takes the channel out of GDN too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntc.gdn import GDN
from pim.errors import UsageError


class Gate(nn.Module):
    """Scales channels: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Each channel times its number."""
        return x * self.scale[:, None, None]


@dataclass(frozen=True)
class Stage:
    """A convolution of a decoder with what follows it, and how often it is computed."""

    convolution: nn.ConvTranspose2d
    gate: Gate | None
    gdn: GDN | None
    positions: float  # of its input, for each pixel of the decoded image

    @property
    def taps(self) -> int:
        """Multiply-adds at one position of the input for a pair of channels."""
        height, width = self.convolution.kernel_size
        return height * width

    @property
    def outputs(self) -> float:
        """Positions of its output, for each pixel of the decoded image."""
        down, across = self.convolution.stride
        return self.positions * down * across

    def live(self) -> int:
        """Output channels whose gate is open."""
        return self.convolution.out_channels if self.gate is None else int((self.gate.scale != 0).sum())


def stages(synthesis: nn.Sequential, stride: int = 16) -> list[Stage]:
    """List the transposed convolutions of a decoder; `stride` is the side of the image over that of the latents.

    Raises:
        UsageError: if it holds layers of another kind that have weights, besides gates and nonlinearities.
    """
    found: list[Stage] = []
    positions, layers = 1 / stride**2, list(synthesis)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.ConvTranspose2d):
            after = layers[i + 1 : i + 3]
            gate = next((one for one in after[:1] if isinstance(one, Gate)), None)
            gdn = next((one for one in after if isinstance(one, GDN)), None)
            found.append(Stage(layer, gate, gdn, positions))
            positions = found[-1].outputs
        elif not isinstance(layer, GDN | Gate) and next(layer.parameters(), None) is not None:
            raise UsageError(f"cannot count the operations of a decoder with a {type(layer).__name__}")
    return found


def multiply_adds(synthesis: nn.Sequential, stride: int = 16) -> float:
    """Multiply-adds for each pixel of the decoded image, of the channels whose gates are open.

    Raises:
        UsageError: as `stages`.
    """
    total, inner = 0.0, None
    for stage in stages(synthesis, stride):
        inner = stage.convolution.in_channels if inner is None else inner
        outer = stage.live()
        total += stage.positions * stage.taps * inner * outer
        if stage.gdn is not None:
            total += stage.outputs * outer**2
        inner = outer
    return total


def gated(synthesis: nn.Sequential) -> nn.Sequential:
    """A copy of a decoder with an open gate after every convolution but the last."""
    layers: list[nn.Module] = []
    convolutions = [layer for layer in synthesis if isinstance(layer, nn.ConvTranspose2d)]
    for layer in synthesis:
        layers.append(copy.deepcopy(layer))
        if isinstance(layer, nn.ConvTranspose2d) and layer is not convolutions[-1]:
            layers.append(Gate(layer.out_channels))
    return nn.Sequential(*layers)


def savings(synthesis: nn.Sequential, stride: int = 16) -> list[float]:
    """Multiply-adds per pixel that go with one more channel of each gate, as the others stand."""
    found, all_stages = [], stages(synthesis, stride)
    inner = all_stages[0].convolution.in_channels
    for stage, following in zip(all_stages[:-1], all_stages[1:], strict=True):
        live = stage.live()
        saved = stage.positions * stage.taps * inner + following.positions * following.taps * following.live()
        if stage.gdn is not None:
            saved += stage.outputs * max(0, 2 * live - 1)
        found.append(saved)
        inner = live
    return found


@torch.no_grad()
def charge(synthesis: nn.Sequential, price: float, stride: int = 16) -> None:
    """Add the price of open gates to their gradients, after `backward`: price * sum over channels of cost * gate.

    The price is that of the whole decoder as it stands, in units of the distortion, whose gradient is there already.
    An optimiser that scales its steps, as Adam does, has to see the sum: it says whether a channel is worth its cost.
    """
    total = multiply_adds(synthesis, stride)
    for gate, saved in zip(gates(synthesis), savings(synthesis, stride), strict=True):
        assert gate.scale.grad is not None
        gate.scale.grad += price * saved / total


@torch.no_grad()
def close_gates(synthesis: nn.Sequential) -> None:
    """Close the gates that went below 0, after a step of the optimiser; the widest of every layer stays open."""
    for gate in gates(synthesis):
        widest = gate.scale.argmax()
        gate.scale.clamp_(min=0)
        gate.scale[widest] = gate.scale[widest].clamp_min(1e-3)


@torch.no_grad()
def pruned(synthesis: nn.Sequential) -> nn.Sequential:
    """The decoder that computes the same without closed gates: smaller dense layers, gates folded in."""
    plain = nn.Sequential(*(layer for layer in synthesis if not isinstance(layer, Gate)))
    names = {id(layer): name for name, layer in plain.named_children()}
    state: dict[str, Tensor] = {}
    found = stages(synthesis)
    inner = torch.arange(found[0].convolution.in_channels)
    for stage in found:
        layer, name = stage.convolution, names[id(stage.convolution)]
        scale = torch.ones(layer.out_channels) if stage.gate is None else stage.gate.scale
        outer = torch.nonzero(scale)[:, 0]
        state[f"{name}.weight"] = layer.weight[inner][:, outer] * scale[outer][:, None, None]
        if layer.bias is not None:
            state[f"{name}.bias"] = layer.bias[outer] * scale[outer]
        if stage.gdn is not None:
            name = names[id(stage.gdn)]
            state[f"{name}.beta.root"] = stage.gdn.beta.root[outer]
            state[f"{name}.gamma.root"] = stage.gdn.gamma.root[outer][:, outer]
        inner = outer
    return resized(plain, state)


def resized(synthesis: nn.Sequential, state: Mapping[str, Tensor]) -> nn.Sequential:
    """A copy of a decoder with weights of other sizes.

    Args:
        synthesis: Without gates.
        state: All its parameters, as of a pruned decoder.
    """
    made = copy.deepcopy(synthesis)
    for name, value in state.items():
        owner = made.get_submodule(name.rpartition(".")[0])
        setattr(owner, name.rpartition(".")[2], nn.Parameter(value.clone()))
        if isinstance(owner, nn.ConvTranspose2d) and name.endswith(".weight"):
            owner.in_channels, owner.out_channels = value.shape[:2]
    return made


def widths(synthesis: nn.Sequential) -> list[int]:
    """Channels after every convolution of a decoder without gates."""
    return [stage.convolution.out_channels for stage in stages(synthesis)]


def uniform(synthesis: nn.Sequential, share: float) -> nn.Sequential:
    """The control: the same share of channels from every layer, those with the largest weights.

    Args:
        synthesis: Without gates.
        share: Of the multiply-adds that may remain; as many channels are kept as it allows, at least one.
    """
    whole, most = multiply_adds(synthesis), max(widths(synthesis)[:-1])
    for kept in range(most, 0, -1):
        made = _narrowed(synthesis, kept / most)
        if multiply_adds(made) <= share * whole:
            break
    return pruned(made)


@torch.no_grad()
def _narrowed(synthesis: nn.Sequential, share: float) -> nn.Sequential:
    """Gates that leave a share of every layer open."""
    made = gated(synthesis)
    for stage in stages(made)[:-1]:
        assert stage.gate is not None
        channels = stage.convolution.out_channels
        power = stage.convolution.weight.square().sum((0, 2, 3))
        stage.gate.scale[power.argsort()[: channels - max(1, round(share * channels))]] = 0
    return made


def gates(synthesis: nn.Sequential) -> list[Gate]:
    """The gates of a decoder in their order."""
    return [layer for layer in synthesis if isinstance(layer, Gate)]
