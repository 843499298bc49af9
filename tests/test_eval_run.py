"""Runs: the same table whatever happens, failures by name, nothing stale, nothing computed twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_toys import MeanAbsolute, make_plan, make_toy, save

from pim.core.info import MetricInfo
from pim.core.metric import Metric, Prepared
from pim.errors import DataError, UsageError
from pim.eval.analysis import AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import Plan, PlannedPair, StampedPicture, Treatment, plan_of
from pim.eval.run import Advance, RunOptions
from pim.eval.scoring import waves
from pim.eval.session import Outcome, analyse_again, evaluate
from pim.eval.store import reading
from pim.images.opener import OpenedImage, OpenOptions
from pim.metrics.classics import PSNR
from pim.scoring.kept import RecentlyPrepared, size_of
from pim.scoring.pictures import Batch, Loaded, Picture, Reading, opened

PLAIN = RunOptions()
QUICK = AnalysisOptions(IntervalOptions(draws=50))


def ignore(count: int = 1, note: str = "") -> None:
    """Progress that nobody looks at."""


def run(folder: Path, plan: Plan, metrics: Sequence[Metric], options: RunOptions = PLAIN) -> Outcome:
    request = {"dataset": "toy"}
    return evaluate(folder, plan, metrics, request, options, QUICK, lambda total, done: nullcontext(ignore))


def values(folder: Path) -> dict[str, dict[int, float | None]]:
    with reading(folder) as store:
        return {
            m.fingerprint: {pair: score.value for pair, score in store.scores(m.metric).items()}
            for m in store.metrics()
        }


def test_every_pair_is_computed_to_its_value(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set")
    outcome = run(tmp_path / "run", plan, [MeanAbsolute(), PSNR()], RunOptions(batch_size=4))
    assert outcome.failures == ()
    assert outcome.analysis.used == len(plan.judgements) == 48
    found, _ = values(tmp_path / "run").values()
    for number, pair in enumerate(plan.pairs, start=1):
        a, b = (p.open(OpenOptions()).pixels.astype(np.float64) for p in (pair.reference, pair.distorted))
        assert found[number] == pytest.approx(np.abs(a - b).mean(), rel=1e-5)


def test_values_do_not_depend_on_batch_size_or_workers(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set")
    run(tmp_path / "a", plan, [MeanAbsolute()], RunOptions(batch_size=1, workers=0))
    run(tmp_path / "b", plan, [MeanAbsolute()], RunOptions(batch_size=5, workers=3))
    (first,), (second,) = values(tmp_path / "a").values(), values(tmp_path / "b").values()
    assert first.keys() == second.keys()
    np.testing.assert_allclose(list(first.values()), [second[k] for k in first], rtol=1e-6)


def test_a_reference_is_analysed_once_for_all_its_distorted_images(tmp_path: Path) -> None:
    metric = MeanAbsolute()
    run(tmp_path / "run", make_plan(tmp_path / "set", references=6), [metric], RunOptions(batch_size=1))
    assert metric.prepared == 6 + 8  # once each, and once for every row that is computed again


def every_with_every(root: Path, references: int = 3) -> Plan:
    """Each picture of a scene against each later one, as in tables of quadruples."""
    plan = make_plan(root, references=references, levels=3, types=("noise",))
    scenes: dict[Picture, list[Picture]] = {}
    for pair in plan.pairs:
        scenes.setdefault(pair.reference, [pair.reference]).append(pair.distorted)
    both = [pair for scene in scenes.values() for pair in combinations(scene, 2)]
    pairs = tuple(PlannedPair(f"{a.name} | {b.name}", a, b) for a, b in both)
    rows = tuple(replace(plan.judgements[0], key=p.key, pairs=(i,), value=float(i)) for i, p in enumerate(pairs))
    return replace(plan, pairs=pairs, judgements=rows)


def test_a_picture_of_several_pairs_is_analysed_once_on_either_side(tmp_path: Path) -> None:
    plan = every_with_every(tmp_path / "set")
    metric, plain = MeanAbsolute(), MeanAbsolute()
    run(tmp_path / "run", plan, [metric], RunOptions(batch_size=1))
    assert len(plan.pairs) == 3 * 6
    assert metric.prepared == 3 * 4 + 8  # once each, and once for every row that is computed again
    (found,) = values(tmp_path / "run").values()
    for number, pair in enumerate(plan.pairs, start=1):
        a, b = (torch.from_numpy(p.open(OpenOptions()).pixels).permute(2, 0, 1) for p in pair.both())
        assert found[number] == pytest.approx(float(plain(a, b)), rel=1e-6)


def test_what_is_known_of_pictures_stays_within_its_budget(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set")
    pictures = [pair.distorted for pair in plan.pairs[:4]]
    metric = MeanAbsolute()
    made: list[int] = []

    def make(number: int) -> Prepared:
        made.append(number)
        return metric.prepare(torch.zeros(1, 3, 10, 10))

    known = RecentlyPrepared(budget=2 * 3 * 10 * 10 * 4)  # the image and its features are one tensor
    for number in (0, 1, 0, 2, 0, 1):
        known.get((pictures[number],), partial(make, number))
    assert made == [0, 1, 2, 1]  # 1 had to go when 2 came, as 0 was used later
    other = partial(metric.prepare, torch.zeros(1, 3, 10, 10))
    assert known.get(("another metric", pictures[0]), other) is not known.get((pictures[0],), partial(make, 0))
    tight = RecentlyPrepared(budget=0)
    assert tight.get((pictures[3],), partial(make, 3)) is tight.get((pictures[3],), partial(make, 3))


def test_the_size_of_shared_memory_counts_once() -> None:
    image = torch.zeros(5, 7)
    assert size_of({"a": image, "b": [image[1:], None], "c": (torch.zeros(3, dtype=torch.float64), "text")}) == 164


class Counting(MeanAbsolute):
    """Notes with how many threads it is computed."""

    def __init__(self, operations: float | None) -> None:
        super().__init__()
        self.info = replace(self.info, operations=operations)
        self.seen: set[int] = set()

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        self.seen.add(torch.get_num_threads())
        return super()._compare(features, distorted)


@pytest.mark.parametrize(("operations", "threads"), [(3.0, 1), (5000.0, 2), (None, 2)])
def test_cheap_metrics_get_one_thread_and_give_the_others_back(
    tmp_path: Path, operations: float | None, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        metric = Counting(operations)
        run(tmp_path / "run", make_plan(tmp_path / "set", references=2), [metric])
        assert metric.seen == {threads}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_finished_run_computes_nothing_again_and_needs_no_images(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set")
    first = run(tmp_path / "run", plan, [MeanAbsolute()])
    again = MeanAbsolute()
    assert run(tmp_path / "run", plan, [again]).analysis == first.analysis
    assert again.prepared == 0
    for file in (tmp_path / "set").iterdir():
        file.unlink()
    assert analyse_again(tmp_path / "run", QUICK).analysis == first.analysis


def test_other_weights_are_never_reused(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=2)
    run(tmp_path / "run", plan, [MeanAbsolute(1.0)])
    run(tmp_path / "run", plan, [MeanAbsolute(2.0)])
    first, second = values(tmp_path / "run").values()
    np.testing.assert_allclose(list(second.values()), [2 * (v or 0) for v in first.values()], rtol=1e-6)


def test_other_opening_options_are_never_reused(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=2)
    run(tmp_path / "run", plan, [MeanAbsolute()])
    run(tmp_path / "run", plan, [MeanAbsolute()], RunOptions(opening=OpenOptions(background="white")))
    assert len(values(tmp_path / "run")) == 2


def test_a_changed_file_is_scored_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=2)
    before = run(tmp_path / "run", plan, [MeanAbsolute()])
    save(tmp_path / "set" / "r0_noise_1.png", np.zeros((28, 20, 3)))
    after = run(tmp_path / "run", plan, [MeanAbsolute()])
    assert after.analysis.figures != before.analysis.figures


def test_progress_begins_at_what_was_done_before(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def watch(total: int, done: int) -> nullcontext[Advance]:
        seen.append((total, done))
        return nullcontext(ignore)

    plan = make_plan(tmp_path / "set")
    broken = tmp_path / "set" / "r1_shift_2.png"
    broken.write_bytes(b"")
    for _ in range(2):
        evaluate(tmp_path / "run", plan, [MeanAbsolute()], {}, PLAIN, QUICK, watch)
    assert seen == [(48, 0), (48, 47)]


def test_an_unreadable_picture_fails_by_name_and_is_tried_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set")
    broken = tmp_path / "set" / "r1_shift_2.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    outcome = run(tmp_path / "run", plan, [MeanAbsolute(), PSNR()])
    assert len(outcome.failures) == 1
    assert str(broken) in outcome.failures[0]
    assert outcome.analysis.used == 47
    assert "1 of 48 rows are left out" in outcome.analysis.notes[0]
    broken.write_bytes(whole)
    assert run(tmp_path / "run", plan, [MeanAbsolute(), PSNR()]).analysis.used == 48


def test_failed_rows_can_be_left_as_they_are(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=2)
    (tmp_path / "set" / "r1.png").unlink()
    metric = MeanAbsolute()
    run(tmp_path / "run", plan, [metric])
    seen = metric.prepared
    kept = run(tmp_path / "run", plan, [metric], RunOptions(keep_failed=True))
    assert metric.prepared == seen
    assert len(kept.failures) == 1


def test_pictures_of_different_size_fail_with_both_sizes(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=2)
    save(tmp_path / "set" / "r1_noise_1.png", np.zeros((9, 8, 3)))
    (failure,) = run(tmp_path / "run", plan, [MeanAbsolute()]).failures
    assert "r1_noise_1.png is 8 x 9 pixels, its reference" in failure
    assert "32 x 24" in failure


class Sick(Metric):
    """Answers as told where the reference is the second one, else with the difference."""

    def __init__(self, name: str, answer: float) -> None:
        super().__init__()
        self.info = MetricInfo(name, "toy", True, (0.0, inf))
        self.answer = answer

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        plain = (features - distorted).abs().mean((1, 2, 3))
        return torch.where(plain > 0.1, torch.full_like(plain, self.answer), plain)


@pytest.mark.parametrize("answer", [float("nan"), inf, -inf])
def test_values_that_are_no_numbers_are_failures_and_not_rows(tmp_path: Path, answer: float) -> None:
    outcome = run(tmp_path / "run", make_plan(tmp_path / "set", references=2), [Sick("sick", answer)])
    assert outcome.failures
    assert all("is no usable value" in failure for failure in outcome.failures)
    assert outcome.analysis.used == 16 - len(outcome.failures)


def test_infinite_psnr_of_equal_pictures_is_kept_and_counted(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=5)
    equal = tmp_path / "set" / "r0_noise_1.png"
    equal.write_bytes((tmp_path / "set" / "r0.png").read_bytes())
    outcome = run(tmp_path / "run", plan, [PSNR(), MeanAbsolute()])
    assert outcome.failures == ()
    assert "pairs whose images are equal in every pixel, scored like the others: 1" in outcome.analysis.notes
    linear = next(f for f in outcome.analysis.figures if (f.metric, f.part, f.statistic) == ("psnr", "all", "PLCC"))
    assert linear.note == "the interval rests on 5 references only; infinite values left out: 1"
    assert linear.n == 39


class Moody(MeanAbsolute):
    """A value that depends on the batch it is computed in."""

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        return super()._compare(features, distorted) * (1 + 1e-4 * len(distorted))


def test_a_metric_whose_values_depend_on_the_batch_is_caught(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", make_plan(tmp_path / "set"), [Moody()], RunOptions(batch_size=4))
    assert 0 < len(outcome.failures) <= 8
    assert all("must not depend on the batch" in failure for failure in outcome.failures)


class MoodyAtTheEnd(MeanAbsolute):
    """A value that depends on the batch where pictures differ much: in the last rows."""

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        value = super()._compare(features, distorted)
        return torch.where(value > 0.25, value * (1 + 1e-4 * len(distorted)), value)


def test_rows_of_every_part_of_a_run_are_computed_once_more(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=12, levels=8, types=("shift",))  # differs by 0.04 for each level
    ordered = replace(plan, pairs=tuple(sorted(plan.pairs, key=lambda pair: pair.distorted.name[-5])))
    outcome = run(tmp_path / "run", ordered, [MoodyAtTheEnd()], RunOptions(batch_size=12))
    assert any("must not depend on the batch" in failure for failure in outcome.failures)


class Shapeless(MeanAbsolute):
    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        return super()._compare(features, distorted)[:, None]


def test_a_metric_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mean-absolute must return \(1,\); got \(1, 1\)"):
        run(tmp_path / "run", make_plan(tmp_path / "set", references=3), [Shapeless()], RunOptions(batch_size=8))


def test_a_constant_metric_is_named_and_has_no_correlation(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", make_plan(tmp_path / "set"), [MeanAbsolute(0.0)])
    pooled = next(f for f in outcome.analysis.figures if (f.part, f.statistic) == ("all", "SRCC"))
    assert pooled.value is None
    assert pooled.note == "the metric has one value, 0, on all 48 rows"
    assert "mean-absolute has one value, 0, for all pairs" in outcome.analysis.notes


def test_a_wrong_direction_shows_as_negative_agreement_with_a_hint(tmp_path: Path) -> None:
    turned = plan_of(replace(make_toy(tmp_path / "set"), higher_is_better=False))
    outcome = run(tmp_path / "run", turned, [MeanAbsolute()])
    pooled = next(f for f in outcome.analysis.figures if (f.part, f.statistic) == ("all", "SRCC"))
    assert pooled.value is not None
    assert pooled.value < -0.9
    assert any("check the directions" in note for note in outcome.analysis.notes)


def test_an_unfinished_run_is_not_analysed(tmp_path: Path) -> None:
    class Stops(MeanAbsolute):
        def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
            if self.prepared > 2:
                raise KeyboardInterrupt
            return super()._compare(features, distorted)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", make_plan(tmp_path / "set"), [Stops()], RunOptions(batch_size=1))
    (kept,) = values(tmp_path / "run").values()
    assert len(kept) == 16  # what was computed before Ctrl-C
    with pytest.raises(DataError, match="is not finished"):
        analyse_again(tmp_path / "run", QUICK)


def test_waves_cover_every_pair_once_with_one_pair_per_reference() -> None:
    references = ["b", "a", "b", "c", "a", "c", "d", "b"]
    found = waves(references, 2)
    assert sorted(place for wave in found for place in wave) == list(range(8))
    for wave in found:
        names = [references[place] for place in wave]
        assert len(set(names)) == len(names) <= 2
    assert found == [(6,), (1, 3), (4, 5), (0,), (2,), (7,)]


@dataclass(frozen=True)
class Spied:
    """A picture that notes when it is opened."""

    inner: StampedPicture
    seen: list[str] = field(compare=False)

    @property
    def name(self) -> str:
        return self.inner.name

    def stamp(self, verify: bool) -> str:
        return self.inner.stamp(verify)

    def open(self, options: OpenOptions) -> OpenedImage:
        self.seen.append(self.name)
        return self.inner.open(options)


def test_images_wait_within_the_budget(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=6)
    each = 28 * 32 * 3 * 4
    every = waves([pair.reference.name for pair in plan.pairs], 1)
    seen: list[str] = []
    pairs = [replace(p, reference=Spied(p.reference, seen), distorted=Spied(p.distorted, seen)) for p in plan.pairs]
    batches = (Batch(tuple(pairs[place] for place in wave)) for wave in every)
    for used, batch in enumerate(opened(batches, Reading(workers=9), budget=6 * each), start=1):
        assert isinstance(batch.pairs[0].reference, Loaded)
        assert len(seen) <= 2 * used + 8
    assert len(seen) == 6 + 48


def test_a_shift_takes_columns_of_candidates_only(tmp_path: Path) -> None:
    plan = plan_of(make_toy(tmp_path / "set", references=1), Treatment(shift=2))
    pair = plan.pairs[0]
    whole = make_plan(tmp_path / "set", references=1).pairs[0]
    reference, distorted = (p.open(OpenOptions()).pixels for p in (pair.reference, pair.distorted))
    np.testing.assert_array_equal(reference, whole.reference.open(OpenOptions()).pixels[:, :-3])
    np.testing.assert_array_equal(distorted, whole.distorted.open(OpenOptions()).pixels[:, 2:-1])


def test_pictures_are_resized_by_their_shorter_side(tmp_path: Path) -> None:
    plan = plan_of(make_toy(tmp_path / "set", references=1), Treatment(shorter_side=10))
    assert plan.pairs[0].reference.open(OpenOptions()).pixels.shape == (14, 10, 3)


# Forks before anything has begun a thread: ten runs then cost one start of the interpreter.
SCRIPT = """
import json, os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import pim.eval.run
from eval_toys import MeanAbsolute, make_plan
from test_eval_run import begin
from pim.datasets.dataset import Dataset
from pim.errors import UsageError
from pim.eval.store import reading

pim.eval.run.COMMIT_SECONDS = 0.0
root = Path({root!r})
plan = make_plan(root / "set", references=10, levels=6)

def child(seconds, then=lambda: None):
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        try:
            begin(root / "run", plan, seconds, lambda: os.write(tell, b"."))
            os.write(tell, b".")
            then()
        except UsageError as error:
            print(error, file=sys.stderr)
            os._exit(2)
        os._exit(0)
    os.close(tell)
    return pid, told

def rows():
    if not (root / "run" / "scores.sqlite").exists():
        return 0
    with reading(root / "run") as store:
        return sum(len(store.scores(metric.metric)) for metric in store.metrics())

{body}
"""

KILLED = """
moments = random.Random(5)
found = []
for number in range(10):
    pid, told = child(0.1 if number < 7 else 0.0, lambda: time.sleep(60))
    if number % 2:
        os.read(told, 1)  # until a value is committed, or nothing is left
    time.sleep(moments.uniform(0, 0.4))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(told)
    found.append(rows())
pid, _ = child(0.0)
found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(found))
"""

TOGETHER = """
first, told = child(0.05)
os.read(told, 1)
second, _ = child(0.0)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (second, first)]
print(json.dumps(codes))
"""


def begin(folder: Path, plan: Plan, seconds: float, seen: Callable[[], object]) -> None:
    """A run of slow batches that tells when it gets on."""

    def advance(count: int = 1, note: str = "") -> None:
        seen()

    metrics, options = [MeanAbsolute(seconds=seconds)], RunOptions(batch_size=3)
    evaluate(folder, plan, metrics, {"dataset": "toy"}, options, QUICK, lambda *_: nullcontext(advance))


def in_children(root: Path, body: str) -> tuple[list[int], str]:
    """What a script printed on stdout, and on stderr."""
    script = textwrap.dedent(SCRIPT).format(tests=str(Path(__file__).parent), root=str(root), body=body)
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | threads, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def undisturbed(tmp_path: Path) -> Outcome:
    """A run of the same pictures in `whole`."""
    plan = make_plan(tmp_path / "set", references=10, levels=6)
    return run(tmp_path / "whole", plan, [MeanAbsolute()], RunOptions(batch_size=3))


def same_tables(root: Path, undisturbed: Outcome) -> bool:
    (first,), (second,) = values(root / "whole").values(), values(root / "run").values()
    again = analyse_again(root / "run", QUICK).analysis.figures
    return first == second and again == undisturbed.analysis.figures  # bit for bit


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_in_the_table_of_an_undisturbed_one(
    tmp_path: Path, undisturbed: Outcome
) -> None:
    (*rows, code), _ = in_children(tmp_path, KILLED)
    assert code == 0
    assert len(rows) == 10
    assert rows == sorted(rows)  # no committed row was lost
    assert len([count for count in rows if 0 < count < 120]) >= 3
    assert same_tables(tmp_path, undisturbed)


@pytest.mark.slow
def test_of_two_processes_on_one_folder_the_second_leaves_and_does_no_harm(
    tmp_path: Path, undisturbed: Outcome
) -> None:
    codes, told = in_children(tmp_path, TOGETHER)
    assert codes == [2, 0]
    assert f"another process is at work in {tmp_path / 'run'}" in told
    assert same_tables(tmp_path, undisturbed)
