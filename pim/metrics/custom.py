"""A user's own callable as a metric: `package.module:callable`.

Importing runs the user's code, so a name may come from a command line or a program, never from a data file.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from pim.core.info import MetricInfo
from pim.core.metric import Metric, ensure_finite
from pim.errors import PimError, UsageError, did_you_mean

_T = TypeVar("_T")


class CustomMetric(Metric):
    """A function or module of two image batches as a metric, with the checks that all metrics share.

    Args:
        function: (N, 3, H, W) reference and distorted, sRGB in [0, 1] -> (N,) floating point, finite.
            Its attributes `name` and `lower_is_better` are respected; without them the name is
            `source`, and lower is better.
        source: Where the function comes from, as the user would type it.

    Raises:
        UsageError: if an attribute has the wrong type.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], source: str) -> None:
        super().__init__()
        self.info = MetricInfo(
            name=_attribute(function, "name", str, source),
            summary=f"your own metric {source}",
            lower_is_better=_attribute(function, "lower_is_better", bool, True),
            value_range=(-inf, inf),
            symmetric=False,  # not promised
            licence="yours",
            source=source,
        )
        self._function = function

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        try:
            value = self._function(features, distorted)
        except Exception as error:
            raise PimError(f"{self.name} failed: {type(error).__name__}: {error}") from error
        count = len(distorted)
        if not isinstance(value, Tensor):
            raise UsageError(f"{self.name} must return a tensor of shape (N,); got {type(value).__name__}")
        if value.shape != (count,):
            raise UsageError(
                f"{self.name} must return one value per pair, shape ({count},) for this batch; got {tuple(value.shape)}"
            )
        if not value.is_floating_point():
            raise UsageError(f"{self.name} must return floating point values; got {str(value.dtype)[6:]}")
        return ensure_finite(value, self.info, [f"pair {i + 1} of {count}" for i in range(count)])


def load(spec: str) -> Metric:
    """The metric that `package.module:callable` names; the current folder can be imported from.

    The callable is one of: a function (reference, distorted) -> (N,); a module of that call; a
    `Metric`; a class or a function without arguments that makes one of these.

    Raises:
        UsageError: if it cannot be imported or is none of these.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{spec!r} is not package.module:callable")
    return _as_metric(_find(_import(module_name), attribute, spec), spec)


def _import(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"no module named {error.name!r}, neither in {here} nor installed") from error
        raise UsageError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise UsageError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _find(module: Any, attribute: str, spec: str) -> Any:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise UsageError(f"{spec}: {found!r} has no {part!r}; {did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def _as_metric(found: Any, spec: str) -> Metric:
    if inspect.isclass(found) or (callable(found) and _takes(found, 0) and not _takes(found, 2)):
        try:
            found = found()
        except Exception as error:
            raise UsageError(f"making a metric with {spec}() failed: {type(error).__name__}: {error}") from error
    if isinstance(found, Metric):
        if not isinstance(getattr(found, "info", None), MetricInfo):
            raise UsageError(f"{spec}: a pim.Metric needs the attribute info, a pim.core.info.MetricInfo")
        return found
    if not callable(found) or not _takes(found, 2):
        raise UsageError(f"{spec} must be a callable (reference, distorted) -> (N,), or make one; got {found!r}")
    return CustomMetric(found, spec)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with that many arguments; what hides its signature is taken at its word."""
    try:
        inspect.signature(function.forward if isinstance(function, nn.Module) else function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return count == 2
    return True


def _attribute(function: object, name: str, kind: type[_T], default: _T) -> _T:
    value = getattr(function, name, default)
    if not isinstance(value, kind):
        raise UsageError(f"{function!r}: {name} must be a {kind.__name__}; got {value!r}")
    return value
