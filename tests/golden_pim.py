"""Golden arrays of PIM: their settings and weights in our words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pim import PIM, PIMConfig

Arrays = Mapping[str, np.ndarray[Any, Any]]
PYRAMIDS = {"Steerable": "steerable", "Laplacian": "laplacian", None: "none"}
FILES = (
    "pim1_full",
    "pim1_small",
    "pim1_laplacian_residual_small",
    "pim1_laplacian_noresidual_small",
    "pim1_single_small",
    "pim1_valid_small",
    "pim1_sp5_nolayers_small",
    "pim1_sp3_3layers_small",
    "pim1_sp0_small",
)


def config_of(arrays: Arrays) -> PIMConfig:
    c = json.loads(str(arrays["config"]))
    return PIMConfig(
        pyramid=PYRAMIDS[c["multiscale"]],
        scales=c["nscales"],
        filter_set=f"sp{c['steerable_filter_type']}",
        residual=bool(c["use_residual"]),
        filters=tuple(c["num_filters"]),
        padding=c["padding"],
        encoder_layers=c["num_distribution_encoder_layers"],
        mixtures=c["num_marginal_encoder_mixtures"],
        latent=c["z_dim"],
    )


def weights_of(arrays: Arrays, *groups: str) -> dict[str, Tensor]:
    """Weights by parameter name, for the groups `cnn`, `marginal`, `joint`."""
    names = [key for key in arrays if key.startswith("w.") and key.split(".")[1] in groups]
    return {name[2:]: torch.from_numpy(arrays[name].astype(np.float64)) for name in names}


def pim_of(arrays: Arrays, dtype: torch.dtype) -> PIM:
    metric = PIM(config_of(arrays), samples=1).double()
    metric.load_state_dict(weights_of(arrays, "cnn", "marginal"))
    return metric.to(dtype).eval().requires_grad_(False)


def tensor(array: np.ndarray[Any, Any], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(array).to(dtype)


def worst(ours: Tensor, theirs: np.ndarray[Any, Any]) -> float:
    """Largest error, as a share of the largest value."""
    return float(np.abs(ours.detach().double().numpy() - theirs).max() / np.abs(theirs).max())


def gradient_error(ours: Tensor, theirs: np.ndarray[Any, Any]) -> float:
    """Relative L2 norm of the error."""
    return float(np.linalg.norm(ours.double().numpy() - theirs) / np.linalg.norm(theirs))
