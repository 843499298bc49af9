"""Weight files of PIM in a fraction of their size, without training: uniform quantisation and entropy coding.

The file of arXiv 1906.06624 without its training: one step for each tensor, in proportion to its weights.
Expanding gives an ordinary weight file with quantised values. Coding kernels by frequency made the files of
the shipped metrics larger, so weights are coded as they are.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ntc import reparameterise as epr
from ntc.reparameterise.forms import set_steps
from pim.core import weights
from pim.core.weights import WeightHeader
from pim.errors import UsageError, WeightsError
from pim.pim.model import PIM
from pim.pim.networks import PIMConfig


def compress(path: str | Path, relative_step: float) -> bytes:
    """Compress a weight file, of `pim train` or one that ships.

    The quantisation step is relative to the root mean square of each tensor: the smaller, the nearer to the original
    and the larger the file.

    Raises:
        WeightsError: if the file is damaged or foreign.
        UsageError: if the step is not positive.
    """
    header = weights.read_header(path)
    metric = PIM.load(path)
    epr.reparameterise(metric, lambda name, weight: epr.ScalarForm(weight.shape))
    set_steps(metric, relative_step)
    training = {**header.training, "relative_step": relative_step}
    return epr.dumps(metric, {**asdict(header), "training": training})


def expand(content: bytes) -> tuple[WeightHeader, dict[str, Tensor]]:
    """Turn what `compress` made into header and tensors of an ordinary weight file.

    Raises:
        WeightsError: if the bytes are damaged or hold something else.
    """
    header = _header(epr.read_metadata(content))
    try:
        metric = PIM(PIMConfig.from_dict(header.config))
    except UsageError as error:
        raise WeightsError(f"the compressed weights have settings that this version does not know: {error}") from error
    epr.loads(content, metric)
    return header, dict(metric.state_dict())


def _header(values: dict[str, Any]) -> WeightHeader:
    try:
        kind, config, training = str(values["kind"]), dict(values["config"]), dict(values["training"])
        return WeightHeader(kind, config, training, str(values["licence"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError("the compressed model holds no weights of a PIM") from error
