"""The original weights of Oxford from the HDF5 file that Keras fetches.

Keras keeps kernels as (height, width, in, out) and feeds the first layer with blue first: axes are
reordered, and the inputs of conv1_1 turned round. Kernels themselves are not flipped.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pim.errors import WeightsError

MD5 = "6d6bbae143d832006294945121d1f1fc"  # all that its makers publish
LAYERS = tuple(f"block{b}_conv{i}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1))


def read(path: Path, names: list[str]) -> dict[str, Tensor]:
    """The tensors of the convolutions.

    Args:
        path: The file.
        names: What to call kernel and bias of each convolution in turn; the first layers will do.

    Raises:
        WeightsError: if it is another file (which is not opened), or h5py is missing.
    """
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if digest != MD5:
        raise WeightsError(f"{path} has MD5 {digest}, expected {MD5}; it was not opened: remove it and fetch it again")
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(f"reading {path} needs the package h5py: pip install 'pim-metric[keras]'") from error
    found = {}
    with h5py.File(path, "r") as file:
        for layer, kernel_name, bias_name in zip(LAYERS, names[::2], names[1::2], strict=False):
            arrays = {array.ndim: array for array in (np.asarray(value, np.float32) for value in file[layer].values())}
            kernel = arrays[4][:, :, ::-1] if layer == LAYERS[0] else arrays[4]
            found[kernel_name] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
            found[bias_name] = torch.from_numpy(arrays[1])
    return found
