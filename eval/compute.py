"""Values of decoded waves: batches of one size, pictures that come again analysed once, failures kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pim.core.metric import Metric, Prepared, ensure_finite
from pim.errors import PimError, UsageError
from pim.eval.decode import DecodedWave
from pim.eval.pictures import Picture, Places, PlannedPair
from pim.eval.prepared import RecentlyPrepared
from pim.images.opener import OpenedImage

Value = float | PimError


@dataclass(frozen=True)
class Duo:
    """Two open images of one size, and their place in the plan."""

    place: int
    reference: OpenedImage
    distorted: OpenedImage


def usable(decoded: DecodedWave, pairs: Places) -> tuple[list[Duo], dict[int, PimError]]:
    """The pairs of a wave whose images are open and of one size, and what is wrong with the others."""
    duos: list[Duo] = []
    failed: dict[int, PimError] = {}
    for place, reference, distorted in zip(decoded.wave.pairs, decoded.references, decoded.distorted, strict=True):
        if isinstance(reference, PimError):
            failed[place] = reference
        elif isinstance(distorted, PimError):
            failed[place] = distorted
        elif reference.pixels.shape != distorted.pixels.shape:
            names = (pairs[place].distorted.name, pairs[place].reference.name)
            sizes = ["{1} x {0}".format(*image.pixels.shape) for image in (distorted, reference)]
            failed[place] = PimError(f"{names[0]} is {sizes[0]} pixels, its reference {names[1]} is {sizes[1]}")
        else:
            duos.append(Duo(place, reference, distorted))
    return duos, failed


def is_identical(duo: Duo) -> bool:
    """Whether both images are equal in every pixel."""
    return bool(np.array_equal(duo.reference.pixels, duo.distorted.pixels))


class Calculator:
    """One metric, and what is known of the pictures seen last.

    Args:
        metric: On the device.
        device: Where to compute.
        prepared: Shared with the other metrics, whose names differ.
    """

    def __init__(self, metric: Metric, device: str, prepared: RecentlyPrepared) -> None:
        self.metric, self.device, self._prepared = metric, device, prepared

    def values(self, duos: Sequence[Duo], pairs: Places, recurring: frozenset[Picture]) -> dict[int, Value]:
        """The value of every pair, or why there is none.

        Args:
            duos: Pairs of one wave, of any sizes.
            pairs: The plan, for names.
            recurring: Pictures that other pairs have too, on either side. References are analysed once for all
                waves of their block; pictures so large that each makes a batch, once on either side.

        Raises:
            UsageError: if the metric cannot be used at all.
        """
        by_size: dict[tuple[int, ...], list[Duo]] = {}
        for duo in duos:
            by_size.setdefault(duo.reference.pixels.shape, []).append(duo)
        found: dict[int, Value] = {}
        for batch in by_size.values():
            found |= self._batch(batch, pairs, recurring)
        return found

    def alone(self, duo: Duo, pairs: Places) -> Value:
        """The value of a pair in a batch of its own, nothing prepared."""
        return self._batch([duo], pairs, frozenset())[duo.place]

    def _batch(self, duos: list[Duo], pairs: Places, recurring: frozenset[Picture]) -> dict[int, Value]:
        try:
            with torch.inference_mode():
                computed = self._compute(duos, pairs, recurring).double().cpu()
            if computed.shape != (len(duos),):
                raise UsageError(f"{self.metric.name} must return ({len(duos)},); got {tuple(computed.shape)}")
        except UsageError:
            raise
        except (PimError, MemoryError, torch.OutOfMemoryError) as error:
            if len(duos) > 1:  # one pair may be to blame for all
                return {d.place: value for d in duos for value in self._batch([d], pairs, frozenset()).values()}
            return {duos[0].place: self._explained(error, pairs[duos[0].place])}
        return {duo.place: self._checked(value, pairs[duo.place]) for duo, value in zip(duos, computed, strict=True)}

    def _compute(self, duos: list[Duo], pairs: Places, recurring: frozenset[Picture]) -> Tensor:
        references, candidates = [duo.reference for duo in duos], [duo.distorted for duo in duos]
        first, second = (tuple(side) for side in zip(*(pairs[duo.place].both() for duo in duos), strict=True))
        if len(duos) == 1 and recurring.issuperset(second):
            return self.metric.compare(self._known(first, references), self._known(second, candidates))
        known = recurring.issuperset(first)
        reference = self._known(first, references) if known else self._stack(references)
        values: Tensor = self.metric(reference, self._stack(candidates))
        return values

    def _known(self, pictures: tuple[Picture, ...], images: list[OpenedImage]) -> Prepared:
        return self._prepared.get((self.metric.name, pictures), lambda: self.metric.prepare(self._stack(images)))

    def _stack(self, images: list[OpenedImage]) -> Tensor:
        pixels = np.stack([image.pixels for image in images])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(self.device)

    def _checked(self, value: Tensor, pair: PlannedPair) -> Value:
        try:
            return float(ensure_finite(value[None], self.metric.info, [pair.distorted.name]))
        except PimError as error:
            return error

    def _explained(self, error: Exception, pair: PlannedPair) -> PimError:
        text = str(error).splitlines()[0] if isinstance(error, PimError) else "not enough memory"
        named = pair.distorted.name in text
        return error if named and isinstance(error, PimError) else PimError(f"{pair.distorted.name}: {text}")
