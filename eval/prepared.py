"""Analysed pictures that are kept for their next pair, the latest ones, within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from pim.eval.pictures import Picture
from pim.metric import Prepared


class RecentlyPrepared:
    """Analysed batches of pictures; those used least recently make room.

    Args:
        budget: Bytes to hold; the latest batch is kept even if it is larger.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._known: OrderedDict[tuple[Picture, ...], Prepared] = OrderedDict()
        self._bytes: dict[tuple[Picture, ...], int] = {}

    def get(self, pictures: tuple[Picture, ...], make: Callable[[], Prepared]) -> Prepared:
        """What is known of these pictures, or what `make` returns, to be known from now on."""
        if pictures not in self._known:
            prepared = make()
            self._known[pictures], self._bytes[pictures] = prepared, size_of(prepared)
        self._known.move_to_end(pictures)
        while len(self._known) > 1 and sum(self._bytes.values()) > self._budget:
            oldest, _ = self._known.popitem(last=False)
            del self._bytes[oldest]
        return self._known[pictures]


def size_of(value: Any) -> int:
    """Bytes of the tensors in a value; memory that several of them share counts once."""
    found: dict[int, int] = {}
    _collect(value, found)
    return sum(found.values())


def _collect(value: Any, found: dict[int, int]) -> None:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, Mapping):
        _collect(tuple(value.values()), found)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            _collect(part, found)
    elif is_dataclass(value):
        for field in fields(value):
            _collect(getattr(value, field.name), found)
