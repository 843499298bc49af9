"""What one can know of a metric before loading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """The properties of a metric that users ask for; readable without weights or torch."""

    name: str  # complete: one name, one variant
    summary: str  # one line
    lower_is_better: bool
    value_range: tuple[float, float]  # smallest and largest possible value
    min_size: int = 1  # smallest image side in pixels
    symmetric: bool = True  # d(a, b) == d(b, a) up to rounding
    differentiable: bool = True  # gradients reach both images
    aligned: bool = False  # by default displacement and tone are taken back before pictures are compared
    spatial: bool = False  # offers a map that averages to the value
    operations: float | None = None  # multiply-adds per pixel and image
    licence: str = "Apache-2.0"  # of code and weights
    weights: str | None = None  # file name of shipped weights; None: the metric has none
    source: str = ""  # paper or package
    home: str = ""  # what makes it from this information, as `module:callable`; imported when it is needed
    backbone: str | None = None  # id of a network that has to be obtained separately, see `vggmetric.backbone`
