"""A PIM outside eager PyTorch: exported programs and ONNX files that take batches and images of any size."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT, TORCH
from torch.export import Dim

from pim import PIM, PIMConfig

# From 40 pixels: exporters take a plane of one block for something else than a plane of several.
ANY_SIZE = {0: Dim("n", min=1, max=4096), 2: Dim("h", min=40, max=8192), 3: Dim("w", min=40, max=8192)}
ROOTS = {"reduction": 2, "detail": True, "scales": 2, "surround": 5, "distance": "root_mean_square"}
GROUPED = {"reduction": 2, "scales": 2, "kernel": 3, "stride": 2, "grouped": True}


def _metric(**options: float) -> PIM:
    torch.manual_seed(3)
    return PIM(PIMConfig(filters=(4, 3), latent=3, **options)).eval().requires_grad_(False)


@pytest.mark.parametrize("options", [{}, {"mixtures": 2}, {"reduction": 2}, ROOTS, GROUPED], ids=str)
def test_an_exported_metric_takes_any_batch_and_size(options, random_images):
    metric = _metric(**options)
    example = random_images(2, 72, 80, seed=1), random_images(2, 72, 80, seed=2)
    program = torch.export.export(metric, example, dynamic_shapes=(ANY_SIZE, ANY_SIZE)).module()
    x, y = random_images(3, 53, 43, seed=3), random_images(3, 53, 43, seed=4)
    torch.testing.assert_close(program(x, y), metric(x, y), rtol=1e-4, atol=0)  # other forms of the filters
    with pytest.raises(RuntimeError, match="images must be finite"):
        program(x, y - 1)


@pytest.mark.skipif(TORCH < (2, 14), reason="the ONNX exporter of torch 2.10 rounds sizes otherwise; 2.14 is tested")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("options", [{}, ROOTS, GROUPED], ids=["published", "roots", "grouped"])
def test_an_onnx_file_gives_the_same_distances(options, random_images, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    metric = _metric(**options)
    example = random_images(2, 72, 80, seed=1), random_images(2, 72, 80, seed=2)
    path = tmp_path / "pim.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about names of axes
        torch.onnx.export(metric, example, path, dynamo=True, dynamic_shapes=(ANY_SIZE, ANY_SIZE), verbose=False)
    session = runtime.InferenceSession(path)
    names = [entry.name for entry in session.get_inputs()]
    x, y = random_images(3, 53, 43, seed=3), random_images(3, 53, 43, seed=4)
    (values,) = session.run(None, dict(zip(names, (x.numpy(), y.numpy()), strict=True)))
    np.testing.assert_allclose(values, metric(x, y).numpy(), rtol=1e-4)


def test_a_process_that_trained_can_still_export() -> None:
    """Training switches TF32 off for its process; torch.export asks whether all operators agree."""
    code = """
import torch
import pim
from pim.core.device import train_in_float32
train_in_float32()
pair = torch.rand(2, 2, 3, 64, 64)
metric = pim.load("pim")
exported = torch.export.export(metric, tuple(pair))
assert torch.allclose(exported.module()(*pair), metric(*pair), rtol=1e-4)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
