"""What has been found out about pictures that come again, within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

BUDGET = 512 << 20  # bytes
Kept = TypeVar("Kept")


class RecentlyPrepared(Generic[Kept]):
    """Analysed batches of pictures by some key; those used least recently make room.

    Args:
        budget: Bytes to hold; the latest batch is kept even if it is larger.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._known: OrderedDict[Hashable, tuple[Kept, int]] = OrderedDict()
        self._held = 0

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is known under this key, or what `make` returns, to be known from now on."""
        if key not in self._known:
            prepared = make()
            self._known[key] = prepared, size_of(prepared)
            self._held += self._known[key][1]
        self._known.move_to_end(key)
        while len(self._known) > 1 and self._held > self._budget:
            self._held -= self._known.popitem(last=False)[1][1]
        return self._known[key][0]

    def clear(self) -> None:
        """Forget everything, as where memory is short."""
        self._known.clear()
        self._held = 0


def size_of(value: Any) -> int:
    """Count the bytes of the tensors in a value; memory that several of them share counts once."""
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
