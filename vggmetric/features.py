"""The convolutions of VGG-16 and what can be read between them.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556, configuration D. Deviations: none with `pool="max"`; `"l2"` pools as DISTS does
(arXiv 2004.07728), which leaves fewer checkerboards in gradients.

    tap       pixels  relu1_1, 1_2  relu2_1, 2_2  relu3_1 .. 3_3  relu4_1 .. 4_3  relu5_1 .. 5_3
    channels  3       64            128           256             512             512
    stride    1       1             2             4               8               16
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from pim.errors import InputError, UsageError, check_known
from pim.pim.networks import Modules
from vggmetric import winograd

Pool = Literal["max", "l2"]

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CHANNELS: dict[str, int] = {"pixels": 3} | {
    f"relu{b}_{i}": channels for b, block in enumerate(_BLOCKS, 1) for i, channels in enumerate(block, 1)
}
STRIDES: dict[str, int] = {"pixels": 1} | {
    f"relu{b}_{i}": 2 ** (b - 1) for b, block in enumerate(_BLOCKS, 1) for i, _ in enumerate(block, 1)
}  # in pixels of the image
TAPS = tuple(CHANNELS)  # in the order in which they are computed
CONVOLUTIONS = len(TAPS) - 1
_L2_FLOOR = 1e-12  # keeps the gradient of the root finite


class Network(nn.Module):
    """The first convolutions of VGG-16, with whatever stands in memory as weights until some are loaded.

    Args:
        mean: Of R, G and B, in [0, 1], subtracted from the image.
        std: Of R, G and B; the image is divided by it.
        convolutions: How many of the 13 there are.
        pool: "max" as in VGG-16, or "l2".

    Raises:
        UsageError: if the number of convolutions or the pooling is impossible.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], convolutions: int = CONVOLUTIONS, pool: Pool = "max"
    ) -> None:
        super().__init__()
        if not 0 < convolutions <= CONVOLUTIONS:
            raise UsageError(f"VGG-16 has 1 to {CONVOLUTIONS} convolutions; got {convolutions}")
        if pool not in ("max", "l2"):
            raise UsageError(f"pool must be 'max' or 'l2'; got {pool!r}")
        self.pool = pool
        self.taps = TAPS[: convolutions + 1]
        widths = [CHANNELS[tap] for tap in self.taps]
        self.convolutions = Modules[
            nn.Conv2d
        ](
            skip_init(nn.Conv2d, before, after, 3, padding=1, dtype=torch.float32)  # type: ignore[no-untyped-call]
            for before, after in zip(widths, widths[1:], strict=False)
        )
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(
                name, torch.tensor(list(values), dtype=torch.float32, device="cpu").view(1, 3, 1, 1), persistent=False
            )

    def forward(self, image: Tensor, last: str | None = None) -> Iterator[tuple[str, Tensor]]:
        """The taps one after the other, so that each can be dropped before the next is there.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1].
            last: The deepest tap wanted; without it all that there are.

        Yields:
            Name and values of each tap, (N, C, H // stride, W // stride), ReLU outputs but for the pixels.

        Raises:
            UsageError: if the network has no such tap.
            InputError: if the image is too small for the deepest tap.
        """
        last = self.taps[-1] if last is None else last
        check_known(f"{len(self.convolutions)} convolutions have no tap", [last], self.taps)
        check_size(image, last)
        found = (_laid_out(image) - self.mean) / self.std
        yield "pixels", found
        room = winograd.Room()
        for before, tap, convolution in zip(self.taps, self.taps[1:], self.convolutions, strict=False):
            if before == last:
                return
            if STRIDES[tap] > STRIDES[before]:
                found = halved(found, self.pool)
            fast = winograd.suits(found, convolution)
            found = winograd.convolve(found, convolution, room) if fast else convolution(found)
            found = F.relu(found, inplace=True)
            yield tap, found


def check_size(image: Tensor, last: str) -> None:
    """That the image has a position left in every tap down to the last.

    Raises:
        InputError: that names the first tap without one.
    """
    height, width = image.shape[-2:]
    for tap in TAPS[: TAPS.index(last) + 1]:
        if min(height, width) < STRIDES[tap]:
            raise InputError(f"image sides must be at least {STRIDES[tap]} pixels for {tap}; got {width} x {height}")


def halved(features: Tensor, pool: Pool) -> Tensor:
    """Half as many rows and columns: (N, C, H, W) -> (N, C, H // 2, W // 2)."""
    if pool == "max":
        return F.max_pool2d(features, 2)
    channels, (height, width) = features.shape[1], features.shape[-2:]
    taps = features.new_tensor([0.25, 0.5, 0.25])  # a Hann window of 5 without its zeros
    window = torch.outer(taps, taps).expand(channels, 1, 3, 3)
    mean = F.conv2d(features.square(), window, stride=2, padding=1, groups=channels)
    return (mean[..., : height // 2, : width // 2] + _L2_FLOOR).sqrt()


def reach(last: str, pool: Pool = "max") -> int:
    """How many pixels around a tile of whole strides a tap looks at.

    >>> reach("relu5_3")
    90
    """
    taps = TAPS[: TAPS.index(last) + 1]
    found = 0
    for before, tap in reversed(list(zip(taps, taps[1:], strict=False))):
        found += 1
        if STRIDES[tap] > STRIDES[before]:
            found = 2 * found + (pool == "l2")
    return found


def operations(last: str) -> float:
    """Multiply-adds per pixel of all convolutions down to a tap."""
    taps = TAPS[: TAPS.index(last) + 1]
    return sum(
        9 * CHANNELS[before] * CHANNELS[tap] / STRIDES[tap] ** 2 for before, tap in zip(taps, taps[1:], strict=False)
    )


def _laid_out(image: Tensor) -> Tensor:
    """A copy in one layout, whatever the strides: equal images give equal bits.

    Channels are innermost where that is faster: float32 on a CPU, by a third. vmap knows no such order.
    """
    wrapped = not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(image)
    fast = image.device.type == "cpu" and image.dtype == torch.float32 and not wrapped
    return image.clone(memory_format=torch.channels_last if fast else torch.contiguous_format)
