"""One look for all figures, drawn without a display."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pim.errors import PimError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5fd3", "#b8860b", "#444444", "#17a2a2", "#c2568b")
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


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for every different name, in their order; they repeat after eight."""
    return dict(zip(dict.fromkeys(names), itertools.cycle(COLOURS), strict=False))


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """The legend of one panel, for all of them, under the figure."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize="small")


def plain_log(axes: Axes) -> None:
    """A logarithmic x axis without labels between the powers of ten, which overlap."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file; without the date, so that the same figure gives the same file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()
