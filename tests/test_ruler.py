"""What a value means: the stored marks, their words, and the documents that show them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ruler as command
from conftest import ROOT

from pim.core.files import sha256_of
from pim.core.weights import shipped
from pim.metrics.registry import built_in
from pim.metrics.ruler import JPEG, OTHER, Mark, Ruler, ruler_of, rulers
from pim.scoring.engine import load_metrics

Cli = Callable[..., Any]


def toy(*, lower_is_better: bool = True) -> Ruler:
    """Distances 1 at quality 90 and 3 at 50 in the median; half and twice that by photograph; similarities negated."""
    sign = 1 if lower_is_better else -1
    rows = [(JPEG, 50.0, 3.0), (JPEG, 90.0, 1.0), (OTHER, None, 10.0)]
    ends = [sorted((sign * v / 2, sign * 2 * v)) for _, _, v in rows]
    marks = [Mark(change, amount, sign * v, *end) for (change, amount, v), end in zip(rows, ends, strict=True)]
    return Ruler("toy", None, False, 2, lower_is_better, tuple(marks))


@pytest.mark.parametrize("lower", [True, False])
def test_a_value_is_told_by_the_quality_with_that_median(lower: bool) -> None:
    place = toy(lower_is_better=lower).place(2.0 if lower else -2.0)
    assert place.jpeg_quality == 70  # halfway from 1 at 90 to 3 at 50
    assert (place.jpeg_quality_low, place.jpeg_quality_high) == (50, 90)  # 0.5 to 1.5 and 2 to 6 reach 2 there
    assert place.words == "about JPEG quality 70 (50 to 90 by photograph)"


@pytest.mark.parametrize("lower", [True, False])
def test_values_beyond_the_qualities_are_told_so(lower: bool) -> None:
    words = [toy(lower_is_better=lower).place(v if lower else -v).words for v in (0.9, 3.1, 5.0, 99.0)]
    assert words == [
        "closer than JPEG quality 90",
        "further than JPEG quality 50",
        "as far as another photograph",
        "as far as another photograph",
    ]
    assert toy().place(None).words == "identical"


@pytest.mark.parametrize("name", rulers())
def test_stored_marks_belong_to_the_weights_and_are_in_order(name: str) -> None:
    ruler, info = rulers()[name], built_in()[name]
    weights = None if info.weights is None else shipped()[Path(info.weights).stem]
    assert ruler.weights_hash == (None if weights is None else sha256_of(weights)), "run benchmarks/ruler.py again"
    assert (ruler.aligned, ruler.lower_is_better) == (info.aligned, info.lower_is_better)
    assert [(mark.change, mark.amount) for mark in ruler.marks] == list(command.CHANGES)
    assert all(mark.low <= mark.median <= mark.high for mark in ruler.marks)
    medians = [mark.median for mark in ruler.marks if mark.change == JPEG]
    assert medians == sorted(medians, reverse=not info.lower_is_better)
    for quality in range(10, 95, 5):
        place = ruler.place(next(m.median for m in ruler.marks if (m.change, m.amount) == (JPEG, quality)))
        assert place.jpeg_quality == quality


@pytest.mark.development_data
def test_stored_marks_are_what_the_command_measures(shared: Path) -> None:
    found = command.measured("psnr", command.regions(shared / "data" / "kodak"))
    for mark, row in zip(rulers()["psnr"].marks, found["marks"], strict=True):
        assert (mark.change, mark.amount) == tuple(row[:2])
        assert (mark.median, mark.low, mark.high) == pytest.approx(row[2:], rel=0.01)  # encoders differ a little


def test_a_ruler_is_only_for_the_metric_that_was_measured(tiny_pim: Path) -> None:
    assert load_metrics("pim", None)[0].explains
    assert [ruler_of(load_metrics(name, None, align)[0]) for name, align in (("pim", False), ("psnr", True))] == [
        None
    ] * 2
    assert ruler_of(load_metrics(str(tiny_pim), None)[0]) is None
    for name in ("pim", "psnr"):
        assert ruler_of(load_metrics(name, None)[0]) is rulers()[name]


def test_a_shift_by_two_pixels_is_nearer_to_its_jpeg_than_another_photograph() -> None:
    for name, ruler in rulers().items():
        sign = 1 if ruler.lower_is_better else -1
        at = {mark.name: sign * mark.median for mark in ruler.marks}
        assert at["shift by 2 px"] < at[OTHER], name
        assert all(a < b for a, b in pairwise(at[f"blur, sigma {s:g} px"] for s in (0.5, 1, 2, 4))), name


def test_scores_have_their_place_in_json_and_on_a_terminal_only(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = (ROOT / "examples/reference.png", ROOT / "examples/distorted.png")
    (record,) = json.loads(cli("score", *pair, "-m", "psnr", "--format", "json").out)["records"]
    assert record["ruler"] == rulers()["psnr"].place(record["value"]).as_dict()
    (same,) = json.loads(cli("score", pair[0], pair[0], "-m", "psnr", "--format", "json").out)["records"]
    assert same["ruler"]["words"] == "identical"
    assert cli("score", *pair, "-m", "psnr").out.count("\t") == 1
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    line = cli("score", *pair, "-m", "psnr").out
    assert line.rstrip("\n").split("\t")[2] == record["ruler"]["words"]


@pytest.mark.parametrize("path", command.tables(rulers()), ids=lambda path: path.name)
def test_documents_show_what_is_stored(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == command.filled(text, command.tables(rulers())[path]), "run python benchmarks/ruler.py"


def test_numbers_of_tables_have_three_digits() -> None:
    assert [command.number(v) for v in (0.01234, 1.0, 31.72, -0.5, 0.9775)] == [".0123", "1", "31.7", "-.5", ".978"]
    assert not math.isnan(float(command.number(-0.25)))
