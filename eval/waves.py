"""In which order and in which batches pairs are computed.

References are taken in blocks, and the j-th distorted images of all references of a block make one
wave. A reference is opened and analysed once however many distorted images it has, and batches are
full even where it has only two. Pictures so large that each makes a batch keep the order of the
data set, where neighbours tend to be of one scene. The order depends on the pairs alone, not on what is
already done: a run that was killed computes the rest in the batches of an undisturbed run, to the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

Wave = tuple[int, ...]  # pairs to compute together, by their place in the plan; each has another reference


def waves(references: Sequence[str], batch_size: int) -> list[Wave]:
    """Group pairs into waves.

    Args:
        references: The reference of every pair, by name.
        batch_size: Most pairs in a wave.

    Returns:
        All pairs once. References with equally many pairs share blocks, so that waves are full.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, reference in enumerate(references):
        members[reference].append(place)
    by_count: dict[int, list[str]] = defaultdict(list)
    for reference in sorted(members) if batch_size > 1 else members:
        by_count[len(members[reference]) if batch_size > 1 else 0].append(reference)
    found: list[Wave] = []
    for count in sorted(by_count):
        names = by_count[count]
        for start in range(0, len(names), batch_size):
            rows = [members[name] for name in names[start : start + batch_size]]
            found += list(zip(*rows, strict=True))
    return found
