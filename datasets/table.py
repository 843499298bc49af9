"""Plain tables of judgements: CSV, TSV or Parquet with one of four sets of columns.

    opinions        reference, distorted, score [, score_std (spread over people), n]
    forced choices  reference, a, b, prefer_b [, n]         prefer_b or judge: share who found b closer
    quadruples      p0, p1, q0, q1, judge [, n]             judge: share who said that q0 and q1 differ more
    same or not     a, b, same [, n]                        same: share who saw no difference

Any of them may have group (or content), distortion, level, and the tags subset, category, origin.
Opinions need a direction: a column higher_is_better, a file beside the table with its name and the
ending .json that holds {"higher_is_better": true}, or the option. It is never guessed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from pim.datasets.cells import Rows
from pim.datasets.dataset import Dataset, Finding, Kind, ManifestError, Record, finding, standard_error
from pim.datasets.folder import Places
from pim.datasets.numerals import Numbers
from pim.datasets.sheet import read_sheet
from pim.errors import UsageError

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
TAGS = ("subset", "category", "origin")
LARGEST_SIDECAR = 1 << 20  # bytes
_MEASURES = {"score_std": (0.0, math.inf), "n": (1.0, 2.0**53), "level": (-(2.0**53), 2.0**53)}  # and their limits
_EXPECTED = {"score_std": "no deviations", "n": "no numbers of people", "level": "no whole numbers"}
_WHOLE = ("n", "level")
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True)
class _Form:
    """One of the four kinds of tables."""

    kind: Kind
    pictures: tuple[str, ...]  # columns with paths
    label: str  # column with the judgement
    pairs: tuple[tuple[int, int], ...]  # of pictures


FORMS = (
    _Form("opinion", ("reference", "distorted"), "score", ((0, 1),)),
    _Form("two_afc", ("reference", "a", "b"), "prefer_b", ((0, 1), (0, 2))),
    _Form("two_afc", ("reference", "a", "b"), "judge", ((0, 1), (0, 2))),  # as BAPPS calls the same share
    _Form("quadruple", ("p0", "p1", "q0", "q1"), "judge", ((0, 1), (2, 3))),
    _Form("jnd", ("a", "b"), "same", ((0, 1),)),
)


def read(path: Path, images: Path | None = None, higher_is_better: bool | None = None) -> Dataset:
    """Read a table and find its pictures.

    Args:
        path: The table.
        images: Where paths in the table start; those not found there are looked for beside the table.
        higher_is_better: Direction of opinion scores, where the table does not state it.

    Raises:
        UsageError: if the direction is nowhere stated, or stated twice in different ways.
        ManifestError: if the table cannot be read or has other columns.
    """
    if path.is_dir():
        raise ManifestError(f"{path} is a folder; name the table inside it")
    if not path.name.lower().endswith(SUFFIXES):
        raise ManifestError(f"{path} is no table; its name must end in {', '.join(SUFFIXES)}")
    table = read_sheet(path)
    form = _form(table, path)
    places = Places([folder for folder in (images, path.parent) if folder is not None])
    columns = {name: table.numbers(name) for name in (form.label, *_MEASURES)}
    records: list[Record] = []
    for at, (_, row) in enumerate(table.records()):
        found = [places.find(row[column]) for column in form.pictures]
        told = {name: column.values[at] for name, column in columns.items()}
        if told[form.label] is not None and all(found):
            row["group"] = row.get("group") or row.get("content") or places.one_name(row[form.pictures[0]])
            records.append(_record(form, row, [place for place in found if place is not None], told))
    return Dataset(
        name=f"{path.resolve().parent.name}/{_stem(path)}",
        kind=form.kind,
        root=images or path.parent,
        rows=tuple(records),
        higher_is_better=_direction(table, path, higher_is_better) if form.kind == "opinion" else None,
        findings=(
            *(Finding("note", note) for note in table.notes),
            *_value_findings(form, table, columns),
            *places.findings(),
            *_pair_findings(form, table, places),
        ),
        expected={"": len(table)},
        found={"": len(records)},
    )


def _stem(path: Path) -> str:
    """The name of a table without its ending, .csv.gz and the like being one."""
    return next(path.name[: -len(ending)] for ending in SUFFIXES if path.name.lower().endswith(ending))


def _form(table: Rows, path: Path) -> _Form:
    there = set(table.columns)
    for form in FORMS:
        if {*form.pictures, form.label} <= there:
            return form
    forms = "; ".join(",".join((*form.pictures, form.label)) for form in FORMS)
    raise ManifestError(f"{path} has the columns {','.join(table.columns)}; expected one of: {forms}")


def _record(form: _Form, row: Mapping[str, str], found: list[Path], told: Mapping[str, float | None]) -> Record:
    people = _whole(told["n"])
    return Record(
        key="|".join(row[column] for column in form.pictures),
        group=intern(row["group"]),
        pairs=tuple((found[a], found[b]) for a, b in form.pairs),
        value=told[form.label],
        subsets=tuple(intern(row[tag]) for tag in TAGS if row.get(tag)),
        distortion=intern(row.get("distortion", "")) or None,
        level=_whole(told["level"]),
        deviation=standard_error(told["score_std"], people) if form.kind == "opinion" else None,
        people=people,
    )


def _direction(table: Rows, path: Path, stated: bool | None) -> bool:
    """The direction of the scores, from all that states it."""
    said = {"the option": stated, "the column higher_is_better": _column_direction(table, path), **_sidecar(path)}
    known = {where: value for where, value in said.items() if value is not None}
    if not known:
        raise UsageError(
            f"{path} does not say whether a high score is good; say --higher-is-better or --lower-is-better"
        )
    if len(set(known.values())) > 1:
        told = " but ".join(
            f"{where} says {'higher' if value else 'lower'} is better" for where, value in known.items()
        )
        raise UsageError(f"{path}: {told}")
    return next(iter(known.values()))


def _column_direction(table: Rows, path: Path) -> bool | None:
    if "higher_is_better" not in table.columns:
        return None
    values = sorted(set(map(str.lower, table.column("higher_is_better"))))
    if len(values) == 1 and values[0] in (*TRUE, *FALSE):
        return values[0] in TRUE
    raise ManifestError(f"{path}: higher_is_better must be 0 in all rows or 1 in all rows; got {', '.join(values[:5])}")


def _sidecar(path: Path) -> dict[str, bool | None]:
    """What the file of the same name with the ending .json states."""
    beside = path.with_name(f"{_stem(path)}.json")
    if not beside.is_file():
        return {}
    try:
        if beside.stat().st_size > LARGEST_SIDECAR:
            raise ValueError(f"it has more than {LARGEST_SIDECAR} bytes")
        content = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{beside} is no JSON: {error}") from error
    value = content.get("higher_is_better") if isinstance(content, dict) else None
    if value is not None and not isinstance(value, bool):
        raise ManifestError(f"{beside}: higher_is_better must be true or false; got {value!r}")
    return {beside.name: value}


def _value_findings(form: _Form, table: Rows, columns: Mapping[str, Numbers]) -> Iterator[Finding]:
    """What is wrong with the judgements, and with the numbers that weigh or describe them, by line."""
    opinion = form.kind == "opinion"
    limits = {form.label: (-math.inf if opinion else 0.0, math.inf if opinion else 1.0), **_MEASURES}
    expected = {form.label: "no numbers" if opinion else "no shares from 0 to 1", **_EXPECTED}
    for name in (name for name in limits if name in table.columns):
        told = columns[name]
        wrong, unclear = [], []
        for at, (row, text) in enumerate(zip(table.rows, table.column(name), strict=True)):
            value = told.values[at]
            case = f"line {row.line} ({text[:40] or 'empty'})"
            if at in told.ambiguous:
                unclear.append(case)
            elif not text and name != form.label:
                continue
            elif value is None or not _fits(name, value, *limits[name]):
                wrong.append(case)
        yield from finding("error", f"values of {name} are {expected[name]}", wrong)
        yield from finding(
            "error",
            f"values of {name} can be read in two ways, with a separator of thousands or of decimals; write all "
            "numbers with a decimal point and without separators of thousands",
            unclear,
        )


def _fits(name: str, value: float, low: float, high: float) -> bool:
    return low <= value <= high and math.isfinite(value) and (name not in _WHOLE or value == int(value))


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None


def _pair_findings(form: _Form, table: Rows, places: Places) -> tuple[Finding, ...]:
    """Rows that are there twice, under whatever names, and pictures that are compared with themselves."""
    names = ([places.one_name(name) for name in table.column(column)] for column in form.pictures)
    keys = Counter(zip(*names, strict=True))
    repeated = [" | ".join(key) for key, count in keys.items() if count > 1]
    same = [" | ".join(key) for key in keys if len(form.pictures) == 2 and key[0] == key[1]]
    return (
        *finding("error", "rows are there more than once; average their judgements", repeated),
        *finding("note", "rows compare a picture with itself", same),
    )
