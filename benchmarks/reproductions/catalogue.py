"""Which experiments there are; needs nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from pim.errors import UsageError, did_you_mean

_REVIEW, _SAWBRIDGE, _FEATURES, _WEIGHTS, _DECODERS = (
    "2007.03034",
    "2011.05065",
    "2007.11797",
    "1906.06624",
    "1912.08771",
)


@dataclass(frozen=True)
class Entry:
    """An experiment that can be asked for by name."""

    name: str
    summary: str
    paper: str  # number on arXiv
    data: str | None = None  # what its folder of data holds; None: it makes its own


_DIGITS = "the MNIST files"
_RATED = "rated tables NAME/table.csv"

CATALOGUE = (
    Entry("laplace", "codes of the Laplace source against the exact optimum", _REVIEW),
    Entry("banana", "codes of the banana against vector quantisation", _REVIEW),
    Entry("ring", "codes of a ring, which no smooth map turns into a Gaussian", _REVIEW),
    Entry("sawbridge", "neural and Karhunen-Loeve codes of the sawbridge", _SAWBRIDGE),
    Entry("features", "features of digits in few bits", _FEATURES, _DIGITS),
    Entry("lenet300", "LeNet300-100 in a few kilobytes", _WEIGHTS, _DIGITS),
    Entry("lenet5", "LeNet5-Caffe in a few kilobytes", _WEIGHTS, _DIGITS),
    Entry("pim-weights", "the shipped weights of PIM in fewer bytes", _WEIGHTS, _RATED),
    Entry("decoders", "the decoder of a codec in less time", _DECODERS, "video/ and kodak/"),
)


def check_name(name: str) -> None:
    """That an experiment has this name.

    Raises:
        UsageError: if none has, with the nearest name.
    """
    names = [entry.name for entry in CATALOGUE]
    if name not in names:
        raise UsageError(f"unknown experiment {name!r}; {did_you_mean(name, names)}")
