"""Two-alternative forced choice, against golden rows, hand counts and the BAPPS votes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pim.errors import InputError
from pim.eval.two_afc import GROUPS, ceiling_scores, one_sided_share, person_scores, row_scores

Array = np.ndarray[Any, Any]
Golden = Callable[[str], Mapping[str, Array]]


def test_row_scores_person_and_ceiling_equal_the_golden_ones(golden: Golden) -> None:
    stats = golden("stats")
    scores = row_scores(stats["afc_d0"], stats["afc_d1"], stats["afc_judge"])
    np.testing.assert_array_equal(scores, stats["afc_row_score"])
    assert scores.mean() == pytest.approx(float(stats["afc_score"]), abs=1e-14)
    assert person_scores(stats["afc_judge"]).mean() == pytest.approx(float(stats["afc_human"]), abs=1e-14)
    assert ceiling_scores(stats["afc_judge"]).mean() == pytest.approx(float(stats["afc_oracle"]), abs=1e-14)


def test_a_row_scores_the_share_that_chose_the_closer_candidate() -> None:
    judge = np.array([0.2, 0.2, 0.2, 0.2])
    scores = row_scores(np.array([1.0, 2.0, 3.0, np.inf]), np.array([2.0, 1.0, 3.0, np.inf]), judge)
    assert scores.tolist() == [0.8, 0.2, 0.5, 0.5]


def test_one_sided_share_counts_rows_where_one_metric_alone_is_with_the_majority() -> None:
    first, second = np.array([0.8, 0.2, 0.6, 0.5]), np.array([0.8, 0.8, 0.4, 0.4])
    assert one_sided_share(first, second) == 0.5


def test_wrong_columns_are_refused() -> None:
    good = np.array([0.0, 1.0])
    with pytest.raises(InputError, match="judge must lie in .0, 1.; row 2 has 1.5"):
        row_scores(good, good, np.array([0.5, 1.5]))
    with pytest.raises(InputError, match="judge must lie in .0, 1.; row 1 has nan"):
        row_scores(good, good, np.array([np.nan, 0.5]))
    with pytest.raises(InputError, match="must not be NaN"):
        row_scores(np.array([np.nan, 0.0]), good, good)
    with pytest.raises(InputError, match="one length"):
        row_scores(good, good, np.zeros(3))


MEASURED = {  # percent: the six categories, all, row mean
    "alex": (77.4788, 82.8708, 71.1883, 61.0381, 65.2331, 62.4258, 70.0391, 69.6574),
    "vgg": (78.3475, 83.6462, 71.1993, 60.9894, 63.9703, 62.2246, 70.0629, 69.6872),
    "person": (80.8441, 84.3458, 73.6006, 66.0949, 68.8271, 68.6102, 73.7204, 73.1081),
    "ceiling": (85.7839, 88.4746, 80.1197, 74.0021, 76.4110, 75.9746, 80.1277, 79.6544),
}


@pytest.mark.development_data
@pytest.mark.parametrize("line", MEASURED)
def test_bapps_categories_equal_the_measured_table(shared: Path, line: str) -> None:
    rows = pd.read_csv(shared / "data" / "bapps_val_lpips_scratch.csv.gz")
    judge = rows["judge"].to_numpy()
    if line in ("alex", "vgg"):
        scores = row_scores(rows[f"d0_{line}"].to_numpy(), rows[f"d1_{line}"].to_numpy(), judge)
    else:
        scores = {"person": person_scores, "ceiling": ceiling_scores}[line](judge)
    means = pd.Series(scores).groupby(rows["category"]).mean()
    found = [*means[[*GROUPS["traditional and cnn"], *GROUPS["algorithms"]]], means.mean(), scores.mean()]
    np.testing.assert_allclose(100 * np.array(found), MEASURED[line], atol=1e-4)
