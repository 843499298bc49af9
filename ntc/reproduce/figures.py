"""One look for all figures, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pim.errors import PimError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5fd3", "#b8860b", "#444444")  # told apart in gray too
SIZE = 4.2  # inches, of one panel


def panels(count: int, *, columns: int | None = None) -> tuple[Figure, Sequence[Axes]]:
    """A figure with some panels in a row, or in rows of `columns`.

    Raises:
        PimError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PimError("figures need matplotlib: pip install 'pim-metric[ntc]'") from error
    columns = columns or count
    rows = -(-count // columns)
    figure = Figure(figsize=(SIZE * columns, SIZE * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)[:count]


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file; without the date, so that the same figure gives the same file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()
