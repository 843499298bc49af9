"""Our own weights in fewer bytes: size of the file against agreement with the uncompressed metric and with people.

Source of the file: arXiv 1906.06624. The metrics are those that ship, our own training.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ntc import compressed_weights
from pim.core import weights
from pim.core.files import sha256_of
from pim.datasets import table
from pim.datasets.dataset import Dataset, Record
from pim.errors import UsageError
from pim.eval.correlation import pearson, spearman
from pim.images.opener import open_image
from pim.metrics import registry
from pim.pim.model import PIM
from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.figures import colours_of, panels, plain_log
from reproductions.ledger import Result, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pim.datasets.dataset import Picture

METRICS: dict[Preset, tuple[str, ...]] = {
    "quick": (registry.PIM.name,),
    "full": (registry.PIM.name, registry.PIM_1.name),
}
STEPS = (0.25, 0.5, 1.0)  # in units of the root mean square of a tensor
ROWS: dict[Preset, int | None] = {"quick": 300, "full": None}  # of a table, at most
SIDE = 192  # pixels of the middle of a picture that are compared
RATIO, NEAR = 6.0, 0.005  # the bar: smaller by this factor, SRCC with people changed by at most this
Array = NDArray[np.float64]


def _run(context: Context) -> Findings:
    folder = context.need_data("rated tables (NAME/table.csv)")
    sets = {path.parent.name: table.read(path) for path in sorted(folder.glob("*/table.csv"))}
    sets = {name: data for name, data in sets.items() if data.kind == "opinion"}
    if not sets:
        raise UsageError(f"{folder} holds no rated table NAME/table.csv with opinions of picture pairs")
    most = ROWS[context.preset]
    sets = {name: replace(data, rows=_spread(list(data.records()), most)) for name, data in sets.items()}
    rows: list[Result] = []
    for metric in METRICS[context.preset]:
        rows += list(_metric_rows(context, metric, sets))
    return Findings(rows, _claims(rows, sets), {"agreement": _figure(rows, sets)})


def _metric_rows(context: Context, metric: str, sets: dict[str, Dataset]) -> Iterator[Result]:
    path = weights.shipped()[metric]
    original = PIM.load(path)
    plain = {name: _distances(context, metric, "original", original, data) for name, data in sets.items()}
    size = path.stat().st_size
    yield _row(metric, "float32", size, size, plain, plain, sets)
    half = PIM.load(path)
    half.load_state_dict({name: value.half().float() for name, value in half.state_dict().items()})
    stored = b"".join(value.half().numpy().tobytes() for value in half.state_dict().values())
    found = {name: _distances(context, metric, "float16", half, data) for name, data in sets.items()}
    yield _row(metric, "float16, zlib", len(zlib.compress(stored, 9)), size, found, plain, sets)
    for step in STEPS:
        content = compressed_weights.compress(path, step)
        coarse = PIM.load(path)
        coarse.load_state_dict(compressed_weights.expand(content)[1])
        found = {name: _distances(context, metric, f"step {step:g}", coarse, data) for name, data in sets.items()}
        yield _row(metric, f"step {step:g}", len(content), size, found, plain, sets)


def _row(
    metric: str,
    method: str,
    size: int,
    whole: int,
    found: dict[str, Array],
    plain: dict[str, Array],
    sets: dict[str, Dataset],
) -> Result:
    row: Result = {"metric": metric, "method": method, "bytes": size, "ratio": whole / size}
    for name, data in sets.items():
        opinions = np.array([record.value for record in data.records()])
        sign = -1.0 if data.higher_is_better else 1.0
        row[f"{name} n"] = len(opinions)
        row[f"{name} SRCC with people"] = sign * spearman(found[name], opinions)
        row[f"{name} PLCC with original"] = pearson(found[name], plain[name])
        row[f"{name} median change"] = float(np.median(np.abs(found[name] / plain[name] - 1)))
    return row


def _distances(context: Context, metric: str, method: str, model: PIM, data: Dataset) -> Array:
    """Distances of all pairs, on the middle of the pictures; kept from an earlier run where there was one."""
    settings: Result = {
        "experiment": "pim-weights",
        "metric": metric,
        "weights": sha256_of(weights.shipped()[metric]),
        "method": method,
        "data": data.name,
        "rows": len(data.rows),
    }

    def work() -> Result:
        values = []
        with torch.no_grad():
            for reference, records in groupby(data.records(), lambda record: record.pairs[0][0]):
                prepared = model.prepare(_middle(reference))
                for record in records:
                    values.append(float(model(prepared, _middle(record.pairs[0][1]))))
                    context.watch(1, f"{metric}, {method}")
        context.ledger.keep(context.ledger.artefact(settings, ".f64"), np.array(values).tobytes())
        return {"pairs": len(values)}

    context.ledger.run(settings, work)
    return np.frombuffer(context.ledger.artefact(settings, ".f64").read_bytes(), np.float64)


def _spread(records: list[Record], most: int | None) -> list[Record]:
    """Every so many of the records, so that no more than `most` are left."""
    step = 1 if most is None else -(-len(records) // most)
    return records[:: max(1, step)]


def _middle(picture: Picture) -> torch.Tensor:
    assert isinstance(picture, Path)  # tables name files
    image = torch.from_numpy(open_image(picture).pixels).permute(2, 0, 1)
    top, left = ((size - SIDE) // 2 for size in image.shape[1:])
    return image[:, max(0, top) : max(0, top) + SIDE, max(0, left) : max(0, left) + SIDE].contiguous()


def _claims(rows: list[Result], sets: dict[str, Dataset]) -> list[Claim]:
    made = []
    for metric in dict.fromkeys(str(row["metric"]) for row in rows):
        own = [row for row in rows if row["metric"] == metric]
        good = [row for row in own if all(_change(row, own[0], name) <= NEAR for name in sets)]
        best = max(good, key=lambda row: number(row, "ratio"))
        changes = ", ".join(f"{name} {_change(best, own[0], name):.4f}" for name in sets)
        made.append(
            Claim(
                f"{metric} in fewer bytes, agreement with people kept",
                "our bar",
                f"{RATIO:g} times smaller, SRCC changed by at most {NEAR}",
                f"{number(best, 'ratio'):.1f} times ({best['bytes']} B, {best['method']}); changes: {changes}",
                number(best, "ratio") >= RATIO,
            )
        )
    return made


def _change(row: Result, plain: Result, name: str) -> float:
    key = f"{name} SRCC with people"
    return abs(number(row, key) - number(plain, key))


def _figure(rows: list[Result], sets: dict[str, Dataset]) -> Figure:
    figure, axes = panels(len(sets))
    for axis, name in zip(axes, sets, strict=True):
        for metric, colour in colours_of(str(row["metric"]) for row in rows).items():
            own = [row for row in rows if row["metric"] == metric]
            ratio = [number(row, "ratio") for row in own]
            axis.plot(ratio, [number(row, f"{name} SRCC with people") for row in own], "o-", color=colour, label=metric)
        plain_log(axis)
        axis.set(xlabel="times smaller", ylabel="SRCC with people", title=name)
        axis.legend()
    return figure


def _steps(preset: Preset) -> int:
    rows = 2 * (ROWS[preset] or 1000)  # about: the number is only known with the data
    return len(METRICS[preset]) * (2 + len(STEPS)) * rows


EXPERIMENTS = (Experiment("pim-weights", _run, _steps),)
