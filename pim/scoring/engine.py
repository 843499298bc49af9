"""Scoring a stream of pairs: batched, a reference analysed once, in the order of the input."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pim.errors import PimError, UsageError
from pim.scoring.pairs import Pair
from pim.scoring.reading import OpenedPair, Reading, named, opened, size, tensor

if TYPE_CHECKING:
    from torch import Tensor

    from pim.core.metric import Metric, Prepared
    from pim.images.opener import Decoding, OpenedImage


@dataclass(frozen=True)
class Outcome:
    """What became of a pair: for every metric, in their order, a value or an error."""

    pair: Pair
    values: tuple[float | PimError, ...]
    decodings: tuple[Decoding, Decoding] | None = None  # of reference and distorted, where both were opened
    resized_from: tuple[int, int] | None = None  # width and height of the distorted image before


def score(
    pairs: Sequence[Pair], metrics: Sequence[Metric], reading: Reading, device: str, batch_size: int = 1
) -> Generator[Outcome, None, None]:
    """Score pairs one after the other; one that fails does not stop the others.

    Args:
        pairs: In the order of the output.
        metrics: On that device.
        reading: How to open the images.
        device: Where to compute.
        batch_size: Neighbours of one size computed together; values stay, up to rounding.

    Yields:
        One outcome per pair.

    Raises:
        UsageError: if a metric cannot be used at all.
    """
    import torch

    scorer = _Scorer(metrics, device)
    for batch in _batches(opened(pairs, reading), batch_size):
        if isinstance(batch, tuple):
            pair, error = batch
            yield Outcome(pair, (error,) * len(metrics))
            continue
        with torch.inference_mode():
            columns = [scorer.values(index, batch) for index in range(len(metrics))]
        for item, values in zip(batch, zip(*columns, strict=True), strict=True):
            decodings = (item.reference.decoding, item.distorted.decoding)
            yield Outcome(item.pair, values, decodings, item.resized_from)


def _batches(
    items: Iterable[OpenedPair | tuple[Pair, PimError]], batch_size: int
) -> Iterator[list[OpenedPair] | tuple[Pair, PimError]]:
    """Neighbours of one size together; pairs that share a reference alone, because it is analysed once."""
    batch: list[OpenedPair] = []
    for item in items:
        if batch and not (isinstance(item, OpenedPair) and _fits(item, batch)):
            yield batch
            batch = []
        if isinstance(item, tuple):
            yield item
            continue
        batch.append(item)
        if item.shared or len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _fits(item: OpenedPair, batch: list[OpenedPair]) -> bool:
    return not item.shared and size(item.reference) == size(batch[0].reference)


class _Scorer:
    """Metrics, and what they know of the reference they saw last."""

    def __init__(self, metrics: Sequence[Metric], device: str) -> None:
        self.metrics, self.device = metrics, device
        self.reference: OpenedImage | None = None
        self.prepared: dict[int, Prepared] = {}

    def values(self, index: int, batch: list[OpenedPair]) -> list[float | PimError]:
        """What one metric says of every pair of a batch, or why it says nothing."""
        import torch

        from pim.core.metric import ensure_finite

        names = [f"{item.pair.distorted_path} against {item.pair.reference_path}" for item in batch]
        try:
            return list(ensure_finite(self._compute(index, batch), self.metrics[index].info, names).double().tolist())
        except UsageError:
            raise
        except (PimError, MemoryError, torch.OutOfMemoryError) as error:
            if len(batch) > 1:  # one pair may be to blame for all
                return [value for item in batch for value in self.values(index, [item])]
            return [named(error, batch[0].pair)]

    def _compute(self, index: int, batch: list[OpenedPair]) -> Tensor:
        metric = self.metrics[index]
        reference: Tensor | Prepared
        if batch[0].shared:
            reference = self._prepared(index, batch[0].reference)
        else:
            reference = _together([tensor(item.reference, self.device) for item in batch])
        values: Tensor = metric(reference, _together([tensor(item.distorted, self.device) for item in batch]))
        return values

    def _prepared(self, index: int, reference: OpenedImage) -> Prepared:
        if self.reference is not reference:
            self.reference, self.prepared = reference, {}
        if index not in self.prepared:
            self.prepared[index] = self.metrics[index].prepare(tensor(reference, self.device))
        return self.prepared[index]


def _together(images: list[Tensor]) -> Tensor:
    """One batch; a single image is not copied."""
    import torch

    return images[0] if len(images) == 1 else torch.cat(images)
