from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pim.core.metric import Metric
from pim.errors import PimError, UsageError
from pim.metrics import custom, registry

MODULE = """
import torch
from pim.core.info import MetricInfo
from pim.core.metric import Metric

def mse(reference, distorted):
    return (reference - distorted).square().mean((1, 2, 3))

def psnr(reference, distorted):
    return -10 * mse(reference, distorted).log10()

psnr.name = "my-psnr"
psnr.lower_is_better = False

class Network(torch.nn.Module):
    lower_is_better = False

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(-2.0))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, reference, distorted):
        return self.scale * mse(self.dropout(reference), self.dropout(distorted))

class Own(Metric):
    info = MetricInfo("own", "a metric of the whole interface", True, (0.0, 1.0))

    def _compare(self, features, distorted):
        return mse(features, distorted)

instance = Own()

def make():
    return Network()

def make_own():
    return Own()

class Callable:
    def __call__(self, reference, distorted):
        return mse(reference, distorted)

class Needs:
    def __init__(self, path):
        pass

class Nameless(Metric):
    pass

def make_nothing():
    return None

def scalar(reference, distorted):
    return mse(reference, distorted).mean()

def column(reference, distorted):
    return mse(reference, distorted)[:, None, None, None]

def number(reference, distorted):
    return float(mse(reference, distorted).mean())

def array(reference, distorted):
    return mse(reference, distorted).numpy()

def listed(reference, distorted):
    return mse(reference, distorted).tolist()

def arrays(reference, distorted):
    assert reference.shape[2] == 3
    return ((reference - distorted) ** 2).astype("float64").mean()

def told(reference, distorted, *, data_range, channel_axis):
    return 1 - ((reference - distorted) ** 2).mean() * data_range * (channel_axis == -1)

def similarity(reference, distorted):
    return 1 - mse(reference, distorted)

def text(reference, distorted):
    return "near"

def map_of_differences(reference, distorted):
    return (reference - distorted).abs().mean(1, keepdim=True)

def whole(reference, distorted):
    return (mse(reference, distorted) * 100).long()

def nan(reference, distorted):
    values = mse(reference, distorted)
    values[1] = float("nan")
    return values

def crash(reference, distorted):
    raise KeyError("layer3")

def crash_at_length(reference, distorted):
    raise RuntimeError("first line\\nsecond")

def writing(reference, distorted):
    reference -= distorted
    return (reference ** 2).mean()

def writing_arrays(reference, distorted):
    assert reference.shape[2] == 3
    return writing(reference, distorted)

def one(image):
    return image

def direction(reference, distorted):
    return mse(reference, distorted)

direction.lower_is_better = "no"
constant = 3.0
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user in the current folder."""
    name = "mymetrics_of_the_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken_of_the_test.py").write_text("import no_such_package_of_the_test")
    (tmp_path / "faulty_of_the_test.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield name
    for key in [key for key in sys.modules if key.endswith("_of_the_test")]:
        del sys.modules[key]


@pytest.fixture
def pair(random_images) -> tuple[torch.Tensor, torch.Tensor]:
    return random_images(3, 9, 11), random_images(3, 9, 11, seed=1)


def _mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("attribute", "name", "lower_is_better", "factor"),
    [
        ("mse", "{module}:mse", True, 1),
        ("Network", "{module}:Network", False, -2),
        ("make", "{module}:make", False, -2),
        ("Own", "own", True, 1),
        ("instance", "own", True, 1),
        ("make_own", "own", True, 1),
        ("Callable", "{module}:Callable", True, 1),
        ("scalar", "{module}:scalar", True, 1),
        ("column", "{module}:column", True, 1),
        ("number", "{module}:number", True, 1),
        ("array", "{module}:array", True, 1),
        ("listed", "{module}:listed", True, 1),
        ("arrays", "{module}:arrays", True, 1),
        ("writing", "{module}:writing", True, 1),
        ("writing_arrays", "{module}:writing_arrays", True, 1),
    ],
)
def test_functions_modules_classes_and_factories_become_metrics(
    module, pair, attribute, name, lower_is_better, factor
) -> None:
    metric = registry.load(f"{module}:{attribute}")
    assert isinstance(metric, Metric)
    assert metric.name == name.format(module=module)
    assert metric.lower_is_better is lower_is_better
    expected = factor * _mse(*pair)
    for _ in range(2):  # the pictures stay as they are
        torch.testing.assert_close(metric(*pair), expected)


def test_name_and_direction_of_a_function_are_respected(module, pair) -> None:
    metric = custom.load(f"{module}:psnr")
    assert (metric.name, metric.lower_is_better) == ("my-psnr", False)
    torch.testing.assert_close(metric(*pair), -10 * _mse(*pair).log10())


def test_a_network_is_frozen_in_evaluation_mode_and_moves_with_the_metric(module, pair) -> None:
    metric = registry.load(f"{module}:Network", device="meta")
    assert not metric.training
    assert metric.device == torch.device("meta")
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_single_images_and_prepared_references_work_for_functions_too(module, pair) -> None:
    a, b = pair
    metric = custom.load(f"{module}:mse")
    assert metric(a[0], b[0]).shape == ()
    assert torch.equal(metric(metric.prepare(a), b), metric(a, b))


def test_the_direction_is_that_in_which_a_picture_is_nearest_to_itself(module, pair) -> None:
    metric = custom.load(f"{module}:similarity")
    assert not metric.lower_is_better
    torch.testing.assert_close(metric(*pair), 1 - _mse(*pair))
    assert metric.info.differentiable


def test_functions_of_arrays_are_told_the_axis_and_the_range_and_have_no_gradient(module, pair) -> None:
    metric = custom.load(f"{module}:told")
    assert (metric.lower_is_better, metric.info.differentiable) == (False, False)
    torch.testing.assert_close(metric(*pair), 1 - _mse(*pair))


def test_scikit_image_works_as_it_is(random_images) -> None:
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    a, b = random_images(2, 32, 40), random_images(2, 32, 40, seed=1)
    metric = custom.load("skimage.metrics:structural_similarity")
    x, y = a[1].permute(1, 2, 0).numpy(), b[1].permute(1, 2, 0).numpy()
    assert float(metric(a, b)[1]) == pytest.approx(structural_similarity(x, y, channel_axis=2, data_range=1), rel=1e-5)
    assert not metric.lower_is_better


def test_a_file_is_found_by_its_path(module, tmp_path, pair) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f"{module}.py").write_text("def mse(x, y):\n    return 2 * (x - y).square().mean((1, 2, 3))\n")
    for spec, factor in ((f"deep/{module}.py:mse", 2), (f"{tmp_path}/{module}.py:mse", 1)):
        torch.testing.assert_close(registry.load(spec)(*pair), factor * _mse(*pair))


@pytest.mark.parametrize(
    ("attribute", "error", "message"),
    [
        ("map_of_differences", UsageError, r"one value per pair, 3 for this batch; got shape \(3, 1, 9, 11\)"),
        ("text", UsageError, "must return a tensor, an array or floats; got str"),
        ("whole", UsageError, "must return floating point values; got int64"),
        ("nan", PimError, "nan of pair 2 of 3 is nan"),
        ("crash", PimError, r"crash failed: KeyError: 'layer3' \(mymetrics_of_the_test.py, line \d+: raise "),
        ("crash_at_length", PimError, r"RuntimeError: first line second \(mymetrics_of_the_test.py, line \d+: raise "),
    ],
)
def test_wrong_results_are_errors_that_name_the_metric(module, pair, attribute, error, message) -> None:
    metric = custom.load(f"{module}:{attribute}")
    with pytest.raises(error, match=message) as raised:
        metric(*pair)
    assert str(raised.value).startswith(f"{module}:{attribute} ")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{module}:msee", "has no 'msee'; did you mean 'mse'"),
        ("{module}:mse.deep", "{module}:mse has no 'deep'"),
        ("{module}:constant", "must be a callable .* got 3.0"),
        ("{module}:one", "must be a callable"),
        ("{module}:make_nothing", "must be a callable .* got None"),
        ("{module}:Needs", "making a metric with .*Needs.* failed: TypeError"),
        ("{module}:Nameless", "needs the attribute info"),
        ("{module}:direction", "lower_is_better must be a bool; got 'no'"),
        ("no_such_of_the_test:mse", "no module named 'no_such_of_the_test', neither in .* nor installed"),
        ("no_such_of_the_test.deep:mse", "no module named 'no_such_of_the_test'"),
        (
            "broken_of_the_test:mse",
            "importing broken_of_the_test failed: No module named 'no_such_package_of_the_test'",
        ),
        ("faulty_of_the_test:mse", "importing faulty_of_the_test failed: ZeroDivisionError: division by zero"),
        (":mse", "is neither package.module:callable nor file.py:callable"),
        ("{module}:", "is neither package.module:callable nor file.py:callable"),
        ("nowhere.py:mse", "no file nowhere.py; the folder here is "),
        ("faulty_of_the_test.py:mse", "importing faulty_of_the_test.py failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_a_metric_is_refused_with_the_reason(module, spec, message) -> None:
    with pytest.raises(UsageError, match=message.replace("{module}", module)):
        custom.load(spec.format(module=module))
