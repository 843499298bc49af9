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
    return 1.0

def whole(reference, distorted):
    return (mse(reference, distorted) * 100).long()

def nan(reference, distorted):
    values = mse(reference, distorted)
    values[1] = float("nan")
    return values

def crash(reference, distorted):
    raise KeyError("layer3")

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
    ],
)
def test_functions_modules_classes_and_factories_become_metrics(
    module, pair, attribute, name, lower_is_better, factor
) -> None:
    metric = registry.load(f"{module}:{attribute}")
    assert isinstance(metric, Metric)
    assert metric.name == name.format(module=module)
    assert metric.lower_is_better is lower_is_better
    torch.testing.assert_close(metric(*pair), factor * _mse(*pair))


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


@pytest.mark.parametrize(
    ("attribute", "error", "message"),
    [
        ("scalar", UsageError, r"one value per pair, shape \(3,\) for this batch; got \(\)"),
        ("column", UsageError, r"one value per pair, shape \(3,\) for this batch; got \(3, 1, 1, 1\)"),
        ("number", UsageError, "must return a tensor of shape .*; got float"),
        ("whole", UsageError, "must return floating point values; got int64"),
        ("nan", PimError, "nan of pair 2 of 3 is nan"),
        ("crash", PimError, "crash failed: KeyError: 'layer3'"),
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
        ("{module}:mse.deep", "has no 'deep'"),
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
        (":mse", "is not package.module:callable"),
        ("{module}:", "is not package.module:callable"),
    ],
)
def test_what_cannot_be_a_metric_is_refused_with_the_reason(module, spec, message) -> None:
    with pytest.raises(UsageError, match=message):
        custom.load(spec.format(module=module))
