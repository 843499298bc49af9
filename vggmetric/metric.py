"""The weighted distance in features of VGG-16: from two images to one number, and to maps.

    D(x, y) = sum_l sum_c w_l,c q_l,c(x, y),    w >= 0        q: see `vggmetric.embedding`

sqrt(D) is a Euclidean distance between fixed embeddings of the images, so it obeys the triangle
inequality. D is 0 for different images where none of the weighted features differ; with a weight on
the pixels it never is. As a loss use D: the root has an infinite slope at 0.

Source: in the spirit of arXiv 1808.00447 (only its abstract was available). With unit norm and the
linear weights of LPIPS 0.1 (arXiv 1801.03924) it is LPIPS on VGG-16; deviation: eps stands inside the
root, which moves values by 3e-8 of themselves and keeps gradients finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pim.core import weights
from pim.core.device import full_precision
from pim.core.files import sha256_of
from pim.core.info import MetricInfo
from pim.core.metric import Metric, Prepared
from vggmetric import head as heads
from vggmetric import loading
from vggmetric.backbone import named
from vggmetric.embedding import Analysis, Embedding
from vggmetric.features import STRIDES, operations
from vggmetric.head import Head

_BUFFER = "weights_"  # and the tap: a buffer of its weights


class VGGMetric(Metric):
    """Perceptual distance between two images: 0 for identical ones, larger for more different ones.

    Args:
        head: The weights, and which backbone they are for.
        info: Name and properties, for metrics that ship; without it the name is "vgg".
        backbone: File of the backbone; without it the first place that has one, see `backbone.places`.
        cache_dtype: In which `prepare` keeps features; None: float32. With float16 they take half the
            memory, and the distance of equal images is no longer exactly 0.

    Raises:
        MetricUnavailable: if the weights of the backbone are not here.
        WeightsError: if their file is damaged, or not what it should be.
    """

    def __init__(
        self,
        head: Head,
        info: MetricInfo | None = None,
        *,
        backbone: str | Path | None = None,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.info = describe(head, "vgg") if info is None else info
        self.trained_on = tuple(head.story.get("trained_on", ()))
        network = loading.load(head.backbone, backbone, pool=head.pool)
        self._tensors = weights.digest_of(network.state_dict())
        self.embedding = Embedding(network, head.norm, head.eps, head.scales, cache_dtype)
        self.taps = head.taps
        for tap in self.taps:
            self.register_buffer(_BUFFER + tap, head.weights[tap].clone())
        self.eval().requires_grad_(False)
        self.weights_hash = head.sha256  # last: it holds for the weights that are here now

    @classmethod
    def from_head(
        cls,
        head: Head | str | Path,
        device: str | torch.device | None = None,
        *,
        info: MetricInfo | None = None,
        backbone: str | Path | None = None,
        cache_dtype: torch.dtype | None = None,
    ) -> VGGMetric:
        """Make the metric of a head; evaluation mode, frozen. What is not said here is as for the class.

        Args:
            head: A head, the name of one that ships, or the path of its .safetensors file.
            device: Where to compute.
            info: Name and properties; without it the name is that of the file.
            backbone: As for the class.
            cache_dtype: As for the class.

        Raises:
            UsageError: if there is no head of this name.
        """
        if isinstance(head, Head):
            return cls(head, info, backbone=backbone, cache_dtype=cache_dtype).to(device)
        path = heads.locate(head)
        read = Head.read(path)
        info = describe(read, path.stem) if info is None else info
        metric = cls(read, info, backbone=backbone, cache_dtype=cache_dtype).to(device)
        metric.weights_hash = sha256_of(path)
        return metric

    def save(self, path: str | Path) -> None:
        """Write the head to a .safetensors file that `pim.load` reads, on the same backbone, which is not in it.

        Raises:
            PimError: if it cannot be written.
        """
        replace(self.head, weights=self._weights()).write(path)

    @classmethod
    def shipped(cls, info: MetricInfo) -> VGGMetric:
        """Load the head that ships under a name, on its backbone."""
        return cls.from_head(weights.shipped()[Path(info.weights or "").stem], info=info)

    @property
    def settings(self) -> dict[str, Any]:
        """Backbone, normalisation and pooling; and a hash of the layers, which storage in float16 changes."""
        return {**self.head.settings, "backbone_tensors": self._tensors}

    def per_layer(self, reference: Tensor | Prepared, distorted: Tensor) -> dict[str, Tensor]:
        """Split the distance into the shares of the taps that count: by tap, (N,), or 0-d for a single pair.

        Takes and raises what a call does.
        """
        first, second = self._checked(reference, distorted)
        with full_precision(second.device):
            shares = self._shares(first, second)
        return {tap: share[0] if distorted.ndim == 3 else share for tap, share in shares.items()}

    def layer_maps(self, reference: Tensor | Prepared, distorted: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Where the share of every tap comes from; see `Metric.layer_maps`."""
        first, second = self._checked(reference, distorted)
        with full_precision(second.device):
            found = self.embedding.maps(first, second, self._weights())
        for tap in list(found):
            spatial = spread(found.pop(tap), (second.shape[-2], second.shape[-1]))[:, None]
            yield tap, spatial[0] if distorted.ndim == 3 else spatial

    def _analyse(self, image: Tensor) -> Analysis:
        return self.embedding.analyse(image, self.taps)

    def _compare(self, features: Analysis | Tensor, distorted: Tensor) -> Tensor:
        return torch.stack(list(self._shares(features, distorted).values())).sum(0)

    def _compare_map(self, features: Analysis | Tensor, distorted: Tensor) -> Tensor:
        found = self.embedding.maps(features, distorted, self._weights())
        total = torch.zeros_like(distorted[:, 0])
        for tap in list(found):
            total = total + spread(found.pop(tap), (distorted.shape[-2], distorted.shape[-1]))
        return total[:, None]

    def _pair(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self._compare(reference, distorted)

    def _map(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self._compare_map(reference, distorted)

    def _shares(self, first: Analysis | Tensor, second: Tensor) -> dict[str, Tensor]:
        found = self.embedding.differences(first, second, self.taps)
        return {tap: (found[tap] * weights).sum(1) for tap, weights in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        return {tap: self.get_buffer(_BUFFER + tap) for tap in self.taps}


def describe(head: Head, name: str) -> MetricInfo:
    """What one can know of the metric of a head."""
    deepest = head.taps[-1]
    return MetricInfo(
        name=name,
        summary=f"distance in {len(head.taps)} layers of VGG-16 ({named(head.backbone).title}), a head of your own",
        lower_is_better=True,
        value_range=(0.0, float("inf")),
        min_size=STRIDES[deepest],
        spatial=True,
        operations=operations(deepest),
        licence=head.licence,
        source="in the spirit of arXiv 1808.00447",
    )


def overlap(pixels: int, positions: int) -> Tensor:
    """The share of every position in every pixel of one axis, (pixels, positions), float64; rows sum to 1.

    >>> overlap(3, 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    i, j = torch.arange(pixels)[:, None], torch.arange(positions)
    # In units of 1 / (pixels * positions) of the axis all bounds are whole numbers.
    shared = torch.minimum((i + 1) * positions, (j + 1) * pixels) - torch.maximum(i * positions, j * pixels)
    return shared.clamp(min=0).double() / positions


def spread(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps (N, h, w) to the size of the image, (N, H, W), so that they keep their mean and stay non-negative.

    With A[i, j] = H |[i/H, (i+1)/H] intersected with [j/h, (j+1)/h]| a map e becomes A_H e A_W^T.
    """
    for axis, pixels in ((-2, size[0]), (-1, size[1])):
        if values.shape[axis] != pixels:
            shares = overlap(pixels, values.shape[axis]).to(values)
            values = torch.tensordot(values, shares, dims=([axis], [1])).movedim(-1, axis)
    return values
