"""The pictures that aligned metrics compared, as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from pim.core.files import written_whole
from pim.core.metric import Metric
from pim.errors import UsageError
from pim.scoring.engine import Score, pixels_of
from pim.scoring.pairs import STDIN, Pair
from pim.scoring.pictures import Reading, open_pair


def saver(folder: Path, pairs: Sequence[Pair], metrics: Sequence[Metric], reading: Reading) -> Callable[..., None]:
    """Make what saves, of a score, the pictures that each metric compared instead of those of the pair.

    The files are NAME.METRIC.reference.png and NAME.METRIC.distorted.png, after the path of the distorted picture.
    There are none where pictures were compared as they lie. Pictures are opened again.

    Raises:
        UsageError: if no metric aligns, or a picture can be opened once only.
        PimError: when called, if the pictures cannot be opened, or files not be written.
    """
    if not any(metric.explains for metric in metrics):
        raise UsageError("--save-aligned has nothing to save: no metric aligns; add --align")
    if any(STDIN in (pair.reference_path, pair.distorted_path) for pair in pairs):
        raise UsageError("--save-aligned opens pictures a second time, which stdin (-) cannot; give a file")
    folder.mkdir(parents=True, exist_ok=True)

    def save(found: Score[Pair]) -> None:
        if not found.changes:
            return
        opened = open_pair(found.pair, reading)
        name = "-".join(part for part in Path(found.pair.distorted).with_suffix("").parts if part.strip("/."))
        for metric, change in found.changes.items():
            both = change.compared(pixels_of(opened.reference), pixels_of(opened.distorted))
            for side, pixels in zip(("reference", "distorted"), both, strict=True):
                with written_whole(folder / f"{name}.{metric}.{side}.png") as stream:
                    Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy()).save(stream, "PNG")

    return save
