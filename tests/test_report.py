"""`pim report`: what the page says, what it never does, and what it makes of hostile names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import Ran
from eval_toys import MeanAbsolute, make_plan, save

from pim.errors import DataError
from pim.eval.analysis import AnalysisOptions, MetricValues
from pim.eval.disagreement import disagreements, ranks
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import About, Judgement, Plan, PlannedPair
from pim.eval.report import last_options, page, section
from pim.eval.report_cases import Gallery
from pim.eval.report_pictures import SIDE, busiest, view
from pim.eval.run import Advance, RunOptions
from pim.eval.session import Finished, evaluate
from pim.images.opener import OpenOptions
from pim.scoring.pictures import FilePicture

HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.\u00e9"
OPTIONS = AnalysisOptions(IntervalOptions(draws=100))


class Parsed(HTMLParser):
    """Elements with their attributes, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data

    def count(self, tag: str, **wanted: str) -> int:
        return sum(t == tag and all(a.get(k) == v for k, v in wanted.items()) for t, a in self.elements)


@contextmanager
def silent(total: int, done: int) -> Iterator[Advance]:
    yield lambda count=1, note="": None


def run_toy(root: Path, names: tuple[str, ...] = ("psnr", "ssim")) -> tuple[Path, Plan]:
    """A run of cheap metrics on the toy data set."""
    from pim.metrics.registry import load

    plan = make_plan(root / "pictures")
    metrics = [load(name) for name in names]
    evaluate(root / "run", plan, metrics, {}, RunOptions(workers=0), OPTIONS, silent)
    return root / "run", plan


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    return run_toy(tmp_path_factory.mktemp("toy"))


def gallery(plan: Plan, count: int = 3) -> Gallery:
    return Gallery(lambda: plan, list, count)


def made(toy: tuple[Path, Plan], count: int = 3) -> str:
    return page([section(toy[0], OPTIONS, gallery(toy[1], count))])


def test_the_page_holds_the_numbers_of_the_run(toy: tuple[Path, Plan]) -> None:
    found = Parsed(made(toy))
    summary = json.loads((toy[0] / "summary.json").read_text())
    figures = {(f["part"], f["statistic"], f["metric"]): f for f in summary["figures"]}
    for metric in ("psnr", "ssim"):
        for statistic in ("SRCC", "KRCC", "PLCC fitted"):
            f = figures["all", statistic, metric]
            assert f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]" in found.text
    (comparison, *_) = summary["comparisons"]
    assert f"{comparison['p_holm']:.4f}" in found.text
    for said in ("toy", "48 rows", "no weights", "100 draws", "torch", "p (Holm)", "psnr - ssim", "noise", "shift"):
        assert said in found.text
    created = json.loads((toy[0] / "run.json").read_text())["created"]
    assert created[:10] in found.text


def test_eleven_metrics_get_a_dense_table_names_beside_bars_and_a_colour_each(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "pictures", levels=2)
    metrics = [MeanAbsolute() for _ in range(11)]
    for number, metric in enumerate(metrics):
        metric.info = replace(metric.info, name=f"metric-{number}")
    evaluate(tmp_path / "run", plan, metrics, {}, RunOptions(workers=0), OPTIONS, silent)
    html = page([section(tmp_path / "run", OPTIONS, None)])
    found = Parsed(html)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    last = next(f for f in summary["figures"] if (f["part"], f["metric"]) == ("all", "metric-10"))
    assert f"{last['value']:.3f} [{last['low']:.3f}, {last['high']:.3f}]" in found.text
    assert found.count("table", **{"class": "dense"}) >= 2
    for number in range(11):
        assert found.count("svg", **{"class": f"c{number}"}) == 2  # a bar for each type
    assert found.text.count("metric-10 ") >= 2


def test_every_plot_is_drawn_and_described(toy: tuple[Path, Plan]) -> None:
    html = made(toy)
    found = Parsed(html)
    assert found.count("svg", role="img") == 3  # two scatter plots, one of cost
    assert found.count("desc") == 3
    clouds = re.findall(r'class="dots" d="([^"]*)"', html)
    assert [cloud.count("M") for cloud in clouds] == [48, 48, 1, 1]
    assert html.count('class="fill"') == 4  # two types, two metrics


def test_nothing_is_loaded_from_outside(toy: tuple[Path, Plan]) -> None:
    html = made(toy)
    found = Parsed(html)
    for tag, attributes in found.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    (policy,) = [a["content"] for t, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_hostile_names_are_text_and_hidden_characters_are_spelled_out(tmp_path: Path) -> None:
    about = About(dataset=HOSTILE, kind="opinion", higher_is_better=True, notes=(HOSTILE,))
    plan = make_plan(tmp_path / "pictures")
    rows = tuple(
        Judgement(HOSTILE + j.key, j.pairs, j.value, j.group, (HOSTILE,), HOSTILE + str(j.distortion), j.level)
        for j in plan.judgements
    )
    plan = Plan(about, plan.pairs, rows)
    metric = MeanAbsolute()
    folder = tmp_path / "<b>run"
    evaluate(folder, plan, [metric], {}, RunOptions(workers=0), OPTIONS, silent)
    html = page([section(folder, OPTIONS, gallery(plan))])
    assert html.count("<script>") == 1
    assert "\u202e" not in html
    assert "<b>" not in html
    text = Parsed(html).text
    assert "<script>alert(1)</script>\"'&\\u202egnp.\u00e9" in text


def test_names_in_no_encoding_are_written(tmp_path: Path, toy: tuple[Path, Plan]) -> None:
    folder = tmp_path / "bad\udcff"
    try:
        folder.symlink_to(toy[0], target_is_directory=True)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    one = section(folder, OPTIONS, None)
    page([one, one]).encode("utf-8")


@pytest.mark.slow
def test_pictures_are_few_and_small(toy: tuple[Path, Plan]) -> None:
    html = made(toy, count=1000)
    found = Parsed(html)
    assert str(toy[0].parent) not in html
    assert found.count("img") == 24 * 3  # two pictures and a map of each of the most cases
    assert len(html) < 1_000_000
    assert len(made(toy, count=2)) < len(html)


@pytest.mark.slow
def test_a_run_without_its_pictures_says_so_and_shows_the_rest(tmp_path: Path) -> None:
    folder, plan = run_toy(tmp_path)
    for file in (tmp_path / "pictures").glob("*.png"):
        file.unlink()
    html = page([section(folder, OPTIONS, gallery(plan))])
    found = Parsed(html)
    assert found.count("img") == 0
    assert "The pictures are not shown" in found.text
    assert "psnr and ssim" in found.text
    assert "SRCC" in found.text


@pytest.mark.slow
def test_a_picture_that_changed_since_it_was_scored_is_not_shown(tmp_path: Path) -> None:
    folder, plan = run_toy(tmp_path)
    (worst,) = disagreements_of(folder, 1)
    pair = plan.pairs[plan.judgements[worst].pairs[0]]
    save(Path(pair.distorted.name), np.zeros((24, 32, 3)))
    html = page([section(folder, OPTIONS, gallery(plan, 1))])
    assert "has changed since it was scored" in html
    assert "<img" not in html


def disagreements_of(folder: Path, count: int) -> list[int]:
    from pim.eval.session import analyse_again

    run = analyse_again(folder, OPTIONS).run
    return [found.row for found in disagreements(run, ranks(run), count)]


def test_several_runs_are_listed_and_linked(toy: tuple[Path, Plan]) -> None:
    one = section(toy[0], OPTIONS, None)
    found = Parsed(page([one, one]))
    links = [a["href"] for t, a in found.elements if t == "a"]
    assert links == ["#main", "#run-1", "#run-2"]
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"run-1", "run-2"} <= set(ids)
    assert "All runs" in found.text


def finished(kind: str, values: dict[str, list[tuple[float, ...]]], judged: list[float]) -> Finished:
    rows = tuple(Judgement(f"k{i}", (i,), v, f"g{i}") for i, v in enumerate(judged))
    metrics = tuple(MetricValues({"name": n, "lower_is_better": True}, tuple(v)) for n, v in values.items())
    return Finished(About("set", kind, higher_is_better=True), rows, metrics)  # type: ignore[arg-type]


def test_disagreement_is_the_difference_of_ranks() -> None:
    first = [(float(i),) for i in range(10)]
    second = [*first[:2], first[7], *first[3:7], first[2], *first[8:]]  # rows 2 and 7 swapped
    run = finished("opinion", {"a": first, "b": second}, [0.0] * 10)
    found = disagreements(run, ranks(run), 5)
    assert [(d.row, round(d.gap, 9)) for d in found] == [(2, -0.5), (7, 0.5)]


def test_a_metric_alone_is_compared_with_people_in_the_direction_of_their_scores() -> None:
    run = finished("opinion", {"a": [(float(i),) for i in range(6)]}, [5.0, 4.0, 3.0, 2.0, 1.0, 9.0])
    (worst, *_) = disagreements(run, ranks(run), 1)
    assert (worst.row, worst.second) == (5, "people")
    assert worst.gap == pytest.approx(5 / 6)


def test_choices_are_ranked_by_how_much_further_the_second_is() -> None:
    run = finished("two_afc", {"a": [(1.0, 3.0), (3.0, 1.0), (1.0, 1.0)]}, [0.1, 0.9, 0.5])
    shares = ranks(run).shares
    assert shares["a"].tolist() == shares["people"].tolist() == pytest.approx([1.0, 1 / 3, 2 / 3])


def test_the_part_that_differs_most_is_shown() -> None:
    difference = np.zeros((700, 900), dtype=np.float32)
    difference[600:640, 820:880] = 1
    box = busiest(difference, SIDE)
    assert (box.height, box.width) == (SIDE, SIDE)
    assert difference[box.slices].sum() == difference.sum()
    assert difference[:50, :60][busiest(difference[:50, :60], SIDE).slices].shape == (50, 60)


def test_maps_come_from_metrics_that_have_them(toy: tuple[Path, Plan], tmp_path: Path, tiny_pim: Path) -> None:
    from pim.metrics.registry import load

    rng = np.random.default_rng(0)
    for name in "ab":
        save(tmp_path / f"{name}.png", rng.uniform(size=(40, 48, 3)))
    pair = PlannedPair("a | b", FilePicture(tmp_path / "a.png"), FilePicture(tmp_path / "b.png"))
    metric = load(str(tiny_pim))
    shown = view(pair, ("reference", "distorted"), [metric], OpenOptions())
    (drawn,) = shown.maps
    assert drawn.label.startswith("map of ")
    assert (shown.width, shown.height) == (48 * 8, 40 * 8)
    (plain,) = view(pair, ("reference", "distorted"), [], OpenOptions()).maps
    assert plain.label.startswith("difference")


def test_the_last_analysis_sets_the_options(toy: tuple[Path, Plan], tmp_path: Path) -> None:
    assert last_options(toy[0]) == OPTIONS
    assert last_options(tmp_path) == AnalysisOptions()
    (tmp_path / "summary.json").write_text('{"options": 3}')
    assert last_options(tmp_path) == AnalysisOptions()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of a run"):
        section(tmp_path, OPTIONS, None)


@pytest.mark.slow
def test_the_command_finds_the_pictures_by_what_the_run_noted(
    cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_plan(tmp_path / "set", references=5, levels=3)
    table = tmp_path / "set" / "ratings.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("reference", "distorted", "score"))
        for r in range(5):
            writer.writerows(
                (f"r{r}.png", f"r{r}_{kind}_{n}.png", 5 - n) for kind in ("noise", "shift") for n in (1, 2, 3)
            )
    evaluated = cli(
        *("eval", "table", "set/ratings.csv", "-m", "psnr", "-m", "ssim", "--higher-is-better"),
        *("--draws", "100", "--run", "runs/one", "--quiet"),
    )
    assert evaluated.code == 0, evaluated.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = cli("report", "../runs", "-o", "page.html", "--images", "2")
    assert done.code == 0
    assert done.out == ""
    assert "page.html" in done.err
    html = (tmp_path / "elsewhere" / "page.html").read_text(encoding="utf-8")
    assert Parsed(html).count("img") == 6
    cli("report", "../runs/one", "-o", "page.html", "--no-images", "--quiet")
    assert "<img" not in (tmp_path / "elsewhere" / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_severities_get_a_curve_for_every_corruption_and_pictures(
    cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(2)
    for i in range(2):
        save(tmp_path / "photos" / f"p{i}.png", rng.uniform(0.2, 0.8, (40, 48, 3)))
    chosen = ("--corruption", "gaussian_noise", "--corruption", "contrast")
    cli("eval", "imagenet-c", "photos", "--generate", *chosen, "-m", "psnr", "-m", "ssim", "--run", "run", "--quiet")
    cli("report", "run", "-o", "page.html", "--images", "1", "--quiet")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = Parsed(html)
    assert len(re.findall(r'id="run-1-curve\d+-t"', html)) == 2
    assert "this is not agreement with people" in found.text
    assert found.count("img") == 3
