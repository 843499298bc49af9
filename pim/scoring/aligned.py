"""Any metric on registered pictures: displacement and tone are taken back and charged for instead of compared.

    D_a(x, y) = min over the stages of a pair of  D(stage) + u * charge(stage)

The stages are the pictures as they are, aligned, and with the tone taken back as well (`pim.pim.registration`). u is
the metric's own distance between a standard picture and a coarsely coded copy, so that one set of charges serves all.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pim.core.metric import Metric, Prepared
from pim.pim.registration import (
    Charges,
    Displacement,
    Stage,
    Tone,
    describe_displacement,
    describe_tone,
    overlay,
    register,
    stages,
    take_back,
)

CHARGES = Charges()


@dataclass(frozen=True)
class Change:
    """What lies between two pictures beside distortion, and the value of what is left without it."""

    displacement: Displacement | None
    tone: Tone | None
    left: float  # in the metric's published direction, without the charge

    def __str__(self) -> str:
        """Say it in words."""
        place = describe_displacement(self.displacement) if self.displacement else ""
        tone = describe_tone(self.tone) if self.tone else ""
        return "; ".join(part for part in (place, tone, f"what is left: {self.left:.3g}") if part)

    def compared(self, reference: Tensor, distorted: Tensor) -> tuple[Tensor, Tensor]:
        """Make the pictures that were compared of those that were given, (3, H, W) -> (3, h, w)."""
        if self.displacement:
            reference, distorted = overlay(reference, distorted, self.displacement)
        return reference, take_back(distorted, self.tone) if self.tone else distorted

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        parts = {"displacement": self.displacement, "tone": self.tone}
        found: dict[str, Any] = {name: None if part is None else asdict(part) for name, part in parts.items()}
        return {"words": str(self), "left": self.left, **found}


class Aligned(Metric):
    """A metric that looks for displacement and tone first; the value never is worse than that of the pictures as is.

    Args:
        metric: Any metric. Where pictures are neither displaced nor of another tone, its value stays.
    """

    explains = True

    def __init__(self, metric: Metric) -> None:
        name = metric.name if metric.info.aligned else f"{metric.name}+align"
        super().__init__(replace(metric.info, name=name, symmetric=False, spatial=False))
        self.metric = metric
        self.weights_hash, self.trained_on = metric.weights_hash, metric.trained_on
        self._unit: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the metric, and what is charged."""
        return {**self.metric.settings, "aligned": asdict(CHARGES)}

    def explain(self, reference: Tensor | Prepared, distorted: Tensor) -> tuple[Tensor, list[Change | None]]:
        """Compute the values (N,), in the metric's published direction, and what was taken back for each."""
        return self._explain(reference.features if isinstance(reference, Prepared) else reference, distorted)

    def _explain(self, inner: Tensor | Prepared, distorted: Tensor) -> tuple[Tensor, list[Change | None]]:
        image = inner.image if isinstance(inner, Prepared) else inner
        plain = self.metric(inner, distorted)
        values, changes = [], []
        for i, displacement in enumerate(register(image, distorted)):
            best = least = self._loss(plain[i])
            change = None
            for stage in list(stages(image[i], distorted[i].to(image.dtype), displacement, tone=True))[1:]:
                loss, left = self._at(stage)
                best = torch.minimum(best, loss)
                if self._loss(left) < least:  # told also where the charge is more than what it saves
                    least, change = self._loss(left), Change(stage.displacement, stage.tone, float(left))
            values.append(self._published(best) if best < self._loss(plain[i]) else plain[i])
            changes.append(change)
        return torch.stack(values), changes

    def _at(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """What a stage costs, and the value of what is left."""
        if min(stage.reference.shape[-2:]) < self.metric.info.min_size:
            return stage.reference.new_tensor(math.inf), stage.reference.new_tensor(math.nan)
        left = self.metric(stage.reference, stage.distorted)
        return self._loss(left) + self._unit_of(stage.reference) * stage.charge(CHARGES), left

    def _unit_of(self, like: Tensor) -> float:
        if self._unit is None:
            from pim.images.made import coarse, standard_picture

            picture = standard_picture().to(like.device, like.dtype)
            with torch.no_grad():
                self._unit = float(self._loss(self.metric(picture, coarse(picture)))[0])
        return self._unit

    def _loss(self, value: Tensor) -> Tensor:
        """The value as a distance, 0 at best; a ratio in dB as the error it stands for."""
        best = self.info.value_range[1]
        if self.lower_is_better:
            return value
        loss: Tensor = best - value if best < math.inf else 10 ** (-value / 20)
        return loss

    def _published(self, loss: Tensor) -> Tensor:
        best = self.info.value_range[1]
        if self.lower_is_better:
            return loss
        published: Tensor = best - loss if best < math.inf else -20 * loss.log10()
        return published

    def _analyse(self, image: Tensor) -> Prepared:
        return self.metric.prepare(image)

    def _compare(self, features: Prepared, distorted: Tensor) -> Tensor:
        return self._explain(features, distorted)[0]

    def _pair(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self._explain(reference, distorted)[0]
