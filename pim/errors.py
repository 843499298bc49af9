"""What can go wrong, as exceptions with the exit code that the command line gives them.

    PimError                     1   anything below
    ├── InputError (ValueError)  1   an image, tensor or table that cannot be used
    ├── WeightsError             1   a weight file that is damaged, foreign or of an unknown version
    ├── MetricUnavailable        1   a known metric whose package or weights are not here
    ├── TrainingError            1   training that cannot go on
    ├── DataError                1   a data set that is incomplete or damaged
    └── UsageError (ValueError)  2   a name, option or call that cannot be right

Every message is one line: what was wrong, where, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PimError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class InputError(PimError, ValueError):
    """An image, tensor or table that cannot be used as given."""


class WeightsError(PimError):
    """A weight file that is damaged, foreign or of an unknown version."""


class MetricUnavailable(PimError):
    """A metric that is known here, but whose package or weights are missing."""


class TrainingError(PimError):
    """Training that cannot start or go on."""


class DataError(PimError):
    """A data set that is incomplete, damaged or not what its name says."""


class UsageError(PimError, ValueError):
    """A name, option or call that cannot be right."""

    exit_code = 2


@contextmanager
def os_errors_as(kind: type[PimError], what: str, then: str = "") -> Iterator[None]:
    """Raise errors of the system as this kind: what could not be done, why, and what to do then."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror or error}{then}") from error


@contextmanager
def from_extra(extra: str, what: str) -> Iterator[None]:
    """Raise a UsageError that names an extra of the package if an import of the block fails."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{what} needs another package ({error}): pip install 'pim-metric[{extra}]'") from error


def lacking(name: str, there: Iterable[str]) -> str:
    """Write the tail of a message about a heading that is not there: which to rename, or all that are there.

    >>> lacking("distorted", ["reference", "distort"])
    "rename 'distort' if that is it"
    """
    names = list(there)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"rename {near[0]!r} if that is it" if near else f"it has {', '.join(names)}"


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that is not known, as a UsageError: what is wrong, the name, and `did_you_mean`."""
    there = list(known)
    for name in names:
        if name not in there:
            raise UsageError(f"{what} {name!r}; {did_you_mean(name, there)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them.

    >>> did_you_mean("pmi-1", ["pim-1", "psnr"])
    "did you mean 'pim-1'?"
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(names)
