"""From pictures and tables to the points, BD-rates and picture that `pim ntc rd` gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pim.cli.common import csv_table, json_text, table
from pim.errors import InputError, UsageError, check_known, did_you_mean

if TYPE_CHECKING:
    from ntc.rd import Coder
    from ntc.rd_cache import RateCache
    from ntc.rd_files import CodedFiles
    from pim.cli.common import FormatName
    from pim.core.info import MetricInfo
    from pim.core.metric import Metric
    from pim.eval.bd_rate import Curve
    from pim.eval.rate_curves import RatePoint
    from pim.eval.run import Advance
    from pim.images.opener import OpenOptions

Tell = Callable[[str], None]


def stored(tables: Sequence[Path], only: Sequence[str] | None, tell: Tell) -> list[RatePoint]:
    """The points of tables, of the codecs that are wanted, by names that tell the tables apart.

    Raises:
        InputError: if a table cannot be read.
        UsageError: if a wanted codec is in none of them.
    """
    from pim.eval.rate_curves import read

    found = [(path, point) for path in tables for point in read(path, tell)]
    names = list(dict.fromkeys(point.codec for _, point in found))
    check_known("no table has the codec", only or [], names)
    return renamed([(path.stem, point) for path, point in found if not only or point.codec in only], (), tell)


def renamed(found: Sequence[tuple[str, RatePoint]], taken: Collection[str], tell: Tell) -> list[RatePoint]:
    """Points under names that say where they come from, where codecs of several tables, or a taken name, are alike.

    Args:
        found: Points with the names of their tables.
        taken: Names of codecs that were measured now.
        tell: Called with a line about every codec that gets another name.
    """
    tables: dict[str, set[str]] = {}
    for table_name, point in found:
        tables.setdefault(point.codec, set()).add(table_name)
    unclear = {codec for codec, where in tables.items() if len(where) > 1 or codec in taken}
    for codec in sorted(unclear):
        tell(
            f"{codec} is in {' and '.join(sorted(tables[codec]))}{' and was measured' if codec in taken else ''}; "
            "the names of tables are added to it"
        )
    return [replace(p, codec=f"{p.codec} ({name})") if p.codec in unclear else p for name, p in found]


def known(points: Sequence[RatePoint]) -> dict[str, MetricInfo]:
    """What is known of the metrics of points by their names."""
    from pim.eval.rate_curves import scale_of

    found = {name: scale_of(name) for point in points for name in point.values}
    return {name: info for name, info in found.items() if info is not None}


def of_picture(
    file: str,
    coders: Sequence[Coder | CodedFiles],
    metrics: Sequence[Metric],
    opening: OpenOptions,
    device: str,
    cache: RateCache,
    advance: Advance,
) -> list[RatePoint]:
    """One picture through every codec at every setting; metrics that need larger pictures are left out.

    Raises:
        PimError: if the picture cannot be opened, coded or compared.
    """
    from ntc.rd import as_picture, measure
    from ntc.rd_files import CodedFiles
    from pim.eval.rate_curves import LUMA
    from pim.images.opener import open_image

    picture = as_picture(open_image(file, opening).pixels)
    able = {m.name: m for m in metrics if m.info.min_size <= min(picture.shape[:2])}
    names = (*able, LUMA)
    found = []
    for wanted in coders:
        coder = wanted.of_picture(file) if isinstance(wanted, CodedFiles) else wanted
        known = {setting: cache.get(picture, coder, setting, names) for setting in coder.settings}
        values = {setting: {} if point is None else point.values for setting, point in known.items()}
        settings = [setting for setting, values_there in values.items() if not values_there.keys() >= set(names)]
        lacking = [m for name, m in able.items() if any(name not in values[setting] for setting in settings)]
        for point in measure(picture, coder, settings, lacking, device):
            cache.put(picture, coder, point)
            known[point.setting] = replace(point, values={**values[point.setting], **point.values})
        found += [replace(p, values={n: p.values[n] for n in names}) for p in known.values() if p is not None]
    advance(len(found))
    return found


@dataclass(frozen=True)
class Result:
    """Points with what follows from them."""

    points: Sequence[RatePoint]
    infos: Mapping[str, MetricInfo]
    against: str | None
    tell: Tell

    @cached_property
    def curves(self) -> dict[str, dict[str, Curve]]:
        """By metric and codec."""
        from pim.eval.rate_curves import curves

        return {name: curves(self.points, name, info, self.tell) for name, info in self.infos.items()}

    def bd_rates(self) -> list[dict[str, Any]]:
        """A row for every metric and codec but the one that the others are compared with.

        Raises:
            UsageError: if that codec is not there.
        """
        codecs = list(dict.fromkeys(point.codec for point in self.points))
        base = self.against or codecs[0]
        if base not in codecs:
            raise UsageError(f"--against {base}: there is no such codec; {did_you_mean(base, codecs)}")
        rows = []
        for metric, found in self.curves.items():
            if base in found:
                rows += [_compared(metric, found[base], found[name]) for name in found if name != base]
        if not rows and len(codecs) > 1:
            self.tell(f"no codec is compared with {base}")
        return rows

    def text(self, form: FormatName) -> str:
        """Points as CSV, or everything as text or JSON."""
        columns = ["codec", "setting", "images", "bpp", *self.infos]
        rows = [_row(point, columns) for point in self.points]
        if form == "csv":
            return csv_table(columns, rows)
        rates = self.bd_rates()
        if form == "json":
            return json_text({"points": rows, "bd_rate": rates, "conclusions": self.conclusions(rates)})
        head = table(rows, "text")
        if not rates:
            return head
        said = f"BD-rate: percent of bits against {rates[0]['against']} at equal quality; negative is fewer"
        cells = [{**row, "notes": "; ".join(row["notes"])} for row in rates]
        return f"{head}\n{said}\n{table(cells, 'text')}\n" + "".join(f"{line}\n" for line in self.conclusions(rates))

    def conclusions(self, rates: Sequence[Mapping[str, Any]]) -> list[str]:
        """Say for every metric which codec needs the fewest bits, by the rows of `bd_rates`."""
        pictures = min((point.images for point in self.points), default=0)
        mean = f", in the mean of {pictures} pictures" if pictures else ""
        said = []
        for metric in dict.fromkeys(row["metric"] for row in rates):
            known = [row for row in rates if row["metric"] == metric and row["pchip"] is not None]
            best = min(known, key=lambda row: row["pchip"], default=None)
            if best is None:
                continue
            if best["pchip"] >= 0:
                said.append(f"At equal {metric} no codec needs fewer bits than {best['against']}{mean}.")
                continue
            fewer = f"{-best['pchip']:.1f} % fewer than {best['against']}{mean}"
            said.append(f"At equal {metric} {best['codec']} needs the fewest bits, {fewer}.")
        return said

    def draw(self, path: Path) -> None:
        """Draw all curves into an .svg, .png or .pdf file."""
        from pim.eval.rate_plots import draw

        codecs = list(dict.fromkeys(point.codec for point in self.points))
        draw(path, self.curves, self.infos, f"Rate and quality of {', '.join(codecs)}")


def _row(point: RatePoint, columns: Sequence[str]) -> dict[str, Any]:
    fields = {**asdict(point), **point.values}
    fields["images"] = point.images or None
    return {column: fields.get(column) for column in columns}


def _compared(metric: str, base: Curve, test: Curve) -> dict[str, Any]:
    from pim.eval.bd_rate import bd_rate

    row: dict[str, Any] = {"codec": test.name, "against": base.name, "metric": metric}
    try:
        found = bd_rate(base, test)
    except InputError as error:
        return {**row, **dict.fromkeys(("pchip", "akima", "cubic", "from_db", "to_db")), "notes": (str(error),)}
    values = {"pchip": found.pchip, "akima": found.akima, "cubic": None if isnan(found.cubic) else found.cubic}
    return {**row, **values, "from_db": found.low, "to_db": found.high, "notes": found.notes}
