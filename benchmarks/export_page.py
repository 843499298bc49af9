"""What the page of `pim web` knows of the default metric: writes pim.onnx and facts.json beside it.

The network is exported to ONNX, from a pair of pictures to what differs at every position of each band; the rest of
the distance, registration and words are the page's own.

    python benchmarks/export_page.py
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pim.core.files import write_bytes, write_text
from pim.images.heatmap import STOPS
from pim.metrics.registry import DEFAULT, load
from pim.metrics.ruler import rulers
from pim.pim.model import PIM, Analysis
from pim.scoring.aligned import CHARGES, Aligned

PAGE = Path(__file__).resolve().parents[1] / "pim" / "web" / "page"
LARGEST = 8192  # side of a tile


class Divergences(nn.Module):
    """A pair of pictures (2, 3, H, W), sRGB in [0, 1], to the divergences (h, w) of every band, coarsest first."""

    def __init__(self, metric: PIM) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, pair: Tensor) -> tuple[Tensor, ...]:
        """The bands."""
        first, second = Analysis(pair[:1]), Analysis(pair[1:])
        return tuple(places[0] for places in self.metric._divergences(first, second))


def export(folder: Path = PAGE) -> None:
    """Write both files for the default metric."""
    metric = load(DEFAULT)
    assert isinstance(metric, PIM)
    write_bytes(folder / "pim.onnx", network(metric))
    write_text(folder / "facts.json", json.dumps(facts(metric), separators=(",", ":")) + "\n")


def network(metric: PIM) -> bytes:
    """The network as an ONNX file for pictures of any size from 40 x 40, without what exporters note in it."""
    import onnx

    sides = {2: torch.export.Dim("height", min=40, max=LARGEST), 3: torch.export.Dim("width", min=40, max=LARGEST)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            Divergences(metric).eval(),
            (torch.rand(2, 3, 72, 80, generator=torch.Generator().manual_seed(0)),),
            dynamo=True,
            dynamic_shapes=(sides,),
            input_names=["pair"],
            output_names=[f"band{i}" for i in range(metric.config.bands)],
            verbose=False,
        )
    assert program is not None
    model: Any = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def facts(metric: PIM) -> dict[str, Any]:
    """Everything else that the page has to know."""
    return {
        "weights": metric.weights_hash,
        "bandWeights": metric.config.band_weights,
        "smallest": metric.info.min_size,
        "unit": Aligned(metric)._unit_of(torch.empty(0)),  # what charges are told in
        "charges": vars(CHARGES),
        "ruler": [[m.change, m.amount, m.median, m.low, m.high] for m in rulers()[DEFAULT].marks],
        "colours": STOPS.tolist(),
    }


if __name__ == "__main__":
    export()
