"""A user's own callable as a metric: `package.module:callable` or `file.py:callable`, in any usual shape.

Importing runs the user's code, so a name may come from a command line or a program, never from a data file.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pim.core.info import MetricInfo
from pim.core.metric import Metric, ensure_finite
from pim.errors import PimError, UsageError, did_you_mean

_T = TypeVar("_T")
_PROBE = 192  # pixels a side: enough for the five scales of MS-SSIM


class CustomMetric(Metric):
    """A function or module of two pictures as a metric, with the checks that all metrics share.

    It is called with batches (N, 3, H, W), sRGB in [0, 1]; pair by pair where it gives one number for a batch; or, if
    it cannot take tensors, pair by pair with NumPy arrays (H, W, 3). It may give tensors, arrays or floats. Its
    attributes `name` and `lower_is_better` are respected. Without them the name is `source`, and the direction is that
    in which a picture is nearer to itself than to noise.

    Args:
        function: (reference, distorted) -> one finite number a pair.
        source: Where the function comes from, as the user would type it.

    Raises:
        UsageError: if an attribute has the wrong type.
    """

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        super().__init__()
        self._function = function
        self._call, lower_is_better = _probe(function)
        self.info = MetricInfo(
            name=_attribute(function, "name", str, source),
            summary=f"your own metric {source}",
            lower_is_better=_attribute(function, "lower_is_better", bool, lower_is_better),
            value_range=(-inf, inf),
            symmetric=False,  # not promised
            differentiable=self._call is _of_batch,
            licence="yours",
            source=source,
        )

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        try:
            values = self._call(self._function, features, distorted)
        except UsageError as error:
            raise UsageError(f"{self.name} {error}") from None
        except Exception as error:
            said = " ".join(str(error).split())
            raise PimError(f"{self.name} failed: {type(error).__name__}: {said} ({_place(error)})") from error
        count = len(distorted)
        return ensure_finite(values, self.info, [f"pair {i + 1} of {count}" for i in range(count)])


def _probe(function: Callable[..., Any]) -> tuple[Callable[[Callable[..., Any], Tensor, Tensor], Tensor], bool]:
    """How a function wants to be called, and whether lower is better; what fails in all ways fails when it is used."""
    noise = torch.rand(2, 3, _PROBE, _PROBE, generator=torch.Generator().manual_seed(0))
    if isinstance(function, nn.Module):
        function.eval()
    for call in (_of_batch, _of_arrays):
        try:
            with torch.no_grad(), np.errstate(all="ignore"):
                equal, other = (float(call(function, noise[:1], second[None])[0]) for second in noise)
        except Exception:
            continue
        return call, not equal > other
    return _of_batch, True


def _of_batch(function: Callable[..., Any], reference: Tensor, distorted: Tensor) -> Tensor:
    value = function(reference.clone(), distorted.clone())  # some write into what they get
    count = len(distorted)
    if count > 1 and (value.numel() if isinstance(value, Tensor) else np.size(value)) == 1:
        alone = [function(reference[i : i + 1].clone(), distorted[i : i + 1].clone()) for i in range(count)]
        return torch.cat([_as_values(value, 1, distorted) for value in alone])
    return _as_values(value, count, distorted)


def _of_arrays(function: Callable[..., Any], reference: Tensor, distorted: Tensor) -> Tensor:
    options = _options(function)
    both = (batch.detach().cpu().permute(0, 2, 3, 1).numpy().copy() for batch in (reference, distorted))
    pairs = zip(*both, strict=True)
    return torch.cat([_as_values(function(x, y, **options), 1, distorted) for x, y in pairs])


def _options(function: Callable[..., Any]) -> dict[str, float]:
    """Tell a function of arrays what it asks for, in the words of scikit-image."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in {"channel_axis": -1, "data_range": 1.0}.items() if name in known}


def _as_values(value: Any, count: int, like: Tensor) -> Tensor:
    """Check what a function gave for `count` pairs and bring it to (count,), on the device of `like`."""
    if isinstance(value, Tensor):
        values = value
    else:
        if not isinstance(value, float | np.floating | np.ndarray | list | tuple):
            raise UsageError(f"must return a tensor, an array or floats; got {type(value).__name__}")
        array = np.asarray(value)
        if array.dtype.kind != "f":
            raise UsageError(f"must return floating point values; got {array.dtype}")
        values = torch.from_numpy(np.ascontiguousarray(array, np.float64)).to(like.device, like.dtype)
    if not values.is_floating_point():
        raise UsageError(f"must return floating point values; got {str(values.dtype)[6:]}")
    if values.numel() != count or (values.ndim > 0 and len(values) != count):
        raise UsageError(f"must return one value per pair, {count} for this batch; got shape {tuple(values.shape)}")
    return values.reshape(count)


def _place(error: Exception) -> str:
    """Where in the user's code it was raised: the last line outside of installed packages and of this one."""
    frames = traceback.extract_tb(error.__traceback__)[2:]  # without the two calls of this file
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"


def load(spec: str) -> Metric:
    """Import the metric that `package.module:callable` or `file.py:callable` names, also from the current folder.

    The callable is one of: a function (reference, distorted), see `CustomMetric`; a module of that call; a `Metric`; a
    class or a function without arguments that makes one of these.

    Raises:
        UsageError: if it cannot be imported or is none of these.
    """
    module_name, _, attribute = spec.rpartition(":")
    if not module_name or not attribute:
        raise UsageError(f"{spec!r} is neither package.module:callable nor file.py:callable")
    return _as_metric(_find(_import(module_name), attribute, spec), spec)


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except FileNotFoundError as error:
        if str(error.filename) != name:
            raise UsageError(f"importing {name} failed: {error}") from error
        raise UsageError(f"no file {name}; the folder here is {here}") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"no module named {error.name!r}, neither in {here} nor installed") from error
        raise UsageError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise UsageError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    """Run a file as a module that is known by its path, so that two of one name stay apart."""
    known = str(path.resolve())
    if known not in sys.modules:
        path.stat()
        spec = importlib.util.spec_from_file_location(known, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[known] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


def _find(module: Any, attribute: str, spec: str) -> Any:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise UsageError(f"{spec[: spec.rindex(part) - 1]} has no {part!r}; {did_you_mean(part, public)}")
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
        raise UsageError(f"{spec} must be a callable (reference, distorted) -> values, or make one; got {found!r}")
    return CustomMetric(found, spec)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with that many arguments; what hides its signature is taken at its word."""
    try:
        called = function.forward if isinstance(function, nn.Module) else function
        inspect.signature(called).bind(*[None] * count, **_options(called))
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
