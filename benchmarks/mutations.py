"""Do the tests bite? Every deliberate fault below must make the test beside it fail.

    python benchmarks/mutations.py            # all
    python benchmarks/mutations.py logistic   # those in files whose path contains a word

The faults are planted one at a time in a temporary copy of the repository. They lie where results would stay plausible:
in the preparation of data, in statistics and in recipes of training.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    "pim",
    "datasets",
    "eval",
    "vggmetric",
    "vggmetric_weights",
    "ntc",
    "benchmarks",
    "tests",
    "examples",
    "docs",
    "pyproject.toml",
    ".ci",
)
FAILED = 1  # what pytest returns if tests failed; other codes mean that they could not even run


class Mutation(NamedTuple):
    """One fault, and the test that has to see it."""

    file: str
    old: str  # stands once in the file
    new: str
    test: str  # as pytest names it: file, or file::function


PREPARATION = "tests/test_preparation.py"
STATISTICS = "tests/test_correlation.py"
BROWSER = "tests/test_web_browser.py"
COLOUR = "tests/opening/test_colour.py"
CORRUPTIONS = "tests/test_corruptions.py"
MUTATIONS = (
    # The page in the browser
    Mutation(
        "pim/web/page/score.js", "HALO = 112", "HALO = 16", f"{BROWSER}::test_the_distance_is_that_of_the_package"
    ),
    Mutation("pim/web/page/score.js", "charges.more * Math.max", "Math.max", BROWSER),
    # How files become pixels
    Mutation(
        "pim/images/colour.py", "if transfer not in (_SRGB,", "if transfer > 18 and transfer not in (_SRGB,", COLOUR
    ),
    Mutation("pim/images/colour.py", "4: 2.2, 5: 2.8", "4: 2.2, 5: 2.2", COLOUR),
    Mutation(
        "pim/images/colour.py",
        "light = np.clip(light @ matrix, 0, 1)",
        "light = np.clip(light @ matrix.T, 0, 1)",
        COLOUR,
    ),
    Mutation("pim/images/shaper.py", "encoded <= 0.04045", "encoded <= 0.4", COLOUR),
    Mutation("datasets/rendered.py", "Image.Resampling.BILINEAR", "Image.Resampling.NEAREST", PREPARATION),
    Mutation("datasets/rendered.py", "round((side - CROP) / 2)", "0", "tests/test_imagenet_c.py"),
    Mutation(
        "pim/scoring/pictures.py", 'mode="bilinear", antialias=True', 'mode="bilinear", antialias=False', PREPARATION
    ),
    Mutation("pim/scoring/pictures.py", 'mode="bilinear", antialias=True', 'mode="nearest"', PREPARATION),
    # What is learned from
    Mutation(
        "datasets/frames.py",
        "settings.still <= _difference(*pair) <= settings.cut",
        "settings.still <= _difference(*pair)",
        PREPARATION,
    ),
    Mutation(
        "datasets/frames.py",
        "_difference(first[::4, ::4], second[::4, ::4]) <= settings.cut",
        "_difference(first[::4, ::4], second[::4, ::4])",
        PREPARATION,
    ),
    Mutation("datasets/frames.py", "recent.clear()", "pass", PREPARATION),
    Mutation("datasets/frames.py", "luma.std() >= settings.flat", "luma.std() >= 0", "tests/test_frames.py"),
    Mutation("datasets/frames.py", "recent[-1 - gap]", "recent[-gap]", "tests/test_frames.py"),
    Mutation(
        "ntc/patches.py", "(largest / smallest) ** u_scale", "(1 + (largest / smallest - 1) * u_scale)", PREPARATION
    ),
    Mutation(
        "ntc/patches.py", "np.linspace(0, len(pixels) - 1, count)", "np.arange(min(count, len(pixels)))", PREPARATION
    ),
    Mutation("ntc/patches.py", "patch[..., ::-1] if flips[0] else patch", "patch", PREPARATION),
    Mutation("ntc/patches.py", "patch.swapaxes(-1, -2) if flips[1] else patch", "patch", PREPARATION),
    Mutation("ntc/patches.py", "rng.integers(0, room + 1,", "rng.integers(0, 1,", PREPARATION),
    Mutation("pim/pim/training/batches.py", "raw[i] = raw[i, ..., ::-1]", "pass", PREPARATION),
    Mutation(
        "pim/pim/training/batches.py",
        "raw[i] = raw[i].swapaxes(-1, -2)",
        "raw[i, 1] = raw[i, 1].swapaxes(-1, -2)",
        PREPARATION,
    ),
    Mutation(
        "pim/pim/training/batches.py",
        "-settings.shift, settings.shift + 1",
        "-settings.shift, settings.shift",
        PREPARATION,
    ),
    # How corrupted pictures are made
    Mutation("datasets/corruptions/pixels.py", "% 6", "% 5", CORRUPTIONS),
    # Recipes of training
    Mutation(
        "ntc/settings.py",
        "min(1.0, 4 * step / self.steps)",
        "min(1.0, step / self.steps)",
        "tests/test_ntc_training.py::test_soft_rounding_grows_steeper_over_the_first_quarter",
    ),
    Mutation("ntc/quantize.py", "torch.round(y - mean)", "torch.floor(y - mean + 0.5)", "tests/test_ntc_quantize.py"),
    Mutation(
        "ntc/training.py",
        "torch.lerp(logs[low], logs[high], levels - low).exp()",
        "torch.lerp(logs[low].exp(), logs[high].exp(), levels - low)",
        "tests/test_ntc_training.py::test_lambdas_between_the_given_ones_are_log_linear",
    ),
    Mutation(
        "ntc/training.py",
        "(middle.to(lambdas) / lambdas).sqrt()",
        "middle.to(lambdas) / lambdas",
        "tests/test_ntc_training.py::test_losses_of_high_rates_weigh_less_and_those_of_one_rate_fully",
    ),
    Mutation(
        "pim/pim/training/upkeep.py",
        "0.5 * (1 + math.cos(math.pi * done))",
        "(1 - done)",
        "tests/test_training.py::test_the_learning_rate_rises_then_falls_to_its_floor",
    ),
    Mutation("pim/pim/objective.py", " - math.log(t.cross.shape[1])", "", "tests/test_objective.py"),
    Mutation("pim/calibration.py", "max(self.cosine, 0.0)", "self.cosine", "tests/test_loss.py"),
    # Directions and statistics
    Mutation("datasets/csiq.py", "higher_is_better=False", "higher_is_better=True", "tests/test_rated_sets.py"),
    Mutation("eval/severity.py", "np.sqrt(differing * len(milder))", "float(len(milder))", "tests/test_severity.py"),
    Mutation(
        "eval/correlation.py", "np.sqrt(untied_x) * np.sqrt(untied_y)", "np.maximum(untied_x, untied_y)", STATISTICS
    ),
    Mutation("eval/correlation.py", "below + (copies + 1) / 2", "below + copies", STATISTICS),
    Mutation("eval/logistic.py", "WIDTHS = (0.25, 0.5, 1.0, 2.0)", "WIDTHS = (1.0,)", STATISTICS),
    Mutation("eval/logistic.py", "(0.0, -1.0, 1.0, float(np.median(x)))", "(0.0,)", STATISTICS),
    Mutation("eval/logistic.py", "-1.0 if np.mean(x * y) < 0 else 1.0", "1.0", STATISTICS),
    Mutation(
        "eval/jnd.py",
        "np.append(ordered[1:] != ordered[:-1], True)",
        "np.ones(len(ordered), dtype=bool)",
        "tests/test_jnd.py",
    ),
    Mutation("eval/bootstrap.py", "np.mean(values == estimate) / 2", "0", "tests/test_bootstrap.py"),
    Mutation("eval/bd_rate.py", "np.log(curve.rate), 3)", "np.log(curve.rate), 2)", "tests/test_bd_rate.py"),
    Mutation(
        "eval/opinions.py",
        "-1.0 if table.lower_is_better[metric] == bool(table.about.higher_is_better) else 1.0",
        "1.0",
        "tests/test_analysis.py",
    ),
    # What keeps results honest
    Mutation("pim/scoring/fingerprint.py", '"core", "images"', '"core"', "tests/test_fingerprint.py"),
    Mutation("pim/scoring/fingerprint.py", '"datasets", "eval")', '"datasets")', "tests/test_fingerprint.py"),
    Mutation("pim/scoring/fingerprint.py", "+ path.read_bytes()", "", "tests/test_fingerprint.py"),
    Mutation(
        "eval/run.py",
        "places[i * len(places) // CHECKED_ROWS]",
        "places[i % len(places)]",
        "tests/test_eval_run.py::test_rows_of_every_part_of_a_run_are_computed_once_more",
    ),
)


def main() -> int:
    """Plant every fault in turn; 1 if one survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only faults in files whose path contains one of these")
    parser.add_argument("--output", type=Path, help="write the outcome as JSON")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if not options.words or any(word in m.file for word in options.words)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_tree(copy)
        tests = sorted({mutation.test for mutation in chosen})
        if run_tests(copy, tests) != 0:
            sys.exit(f"without any fault not all of these pass: {' '.join(tests)}")
        survived = [mutation for mutation in chosen if not is_caught(copy, mutation)]
    print(f"{len(chosen)} faults, {len(survived)} survived")
    if options.output is not None:
        outcome = {"faults": len(chosen), "survived": [m._asdict() for m in survived]}
        outcome["seconds"] = round(time.monotonic() - start)
        options.output.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    return int(bool(survived))


def copy_tree(target: Path) -> None:
    """What the tests need; links stay links within the copy."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / part, target / part)


def is_caught(copy: Path, mutation: Mutation) -> bool:
    """Whether the test fails with the fault; the file is as before afterwards."""
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutated(before, mutation), encoding="utf-8")
    code = run_tests(copy, [mutation.test])
    path.write_text(before, encoding="utf-8")
    print(
        f"{'caught  ' if code == FAILED else 'SURVIVED'}  {mutation.file}: {mutation.old} -> {mutation.new}", flush=True
    )
    return code == FAILED


def mutated(text: str, mutation: Mutation) -> str:
    """The text with the fault.

    Raises:
        SystemExit: if the old text does not stand in it exactly once.
    """
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.file} has {mutation.old!r} {text.count(mutation.old)} times; expected once")
    return text.replace(mutation.old, mutation.new)


def run_tests(copy: Path, tests: Sequence[str]) -> int:
    """Run tests of the copy up to the first that fails; what pytest returns."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    data = os.environ.get("PIM_DEV_DATA", str(ROOT.parent / "shared"))
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PIM_DEV_DATA": data}
    return subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
