"""Displacement and tone are said as a person would say them."""

from __future__ import annotations

import torch
from textures import similarity

from pim.pim.registration import Displacement, Tone, describe

HERE = Displacement.of(torch.eye(2, 3), (100, 200), 1.0, "not displaced")
AS_IT_WAS = Tone(1.0, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), "the same tone")


def moved(right: float = 0.0, down: float = 0.0, turn: float = 0.0, zoom: float = 1.0) -> str:
    matrix = torch.tensor(similarity(right, down, turn, zoom))
    return describe(Displacement.of(matrix, (100, 200), 0.9, None), AS_IT_WAS)


def toned(contrast: float, red: float, green: float, blue: float) -> str:
    return describe(HERE, Tone(contrast, (red, green, blue), (0.5, 0.5, 0.5), None))


def test_displacements_are_said_with_their_direction() -> None:
    assert moved(3.5) == "shifted by 3.5 px right"
    assert moved(-0.5, -1.25) == "shifted by 0.5 px left and 1.2 px up"
    assert moved(0.0, 2.0, 0.1) == "shifted by 2.0 px down; turned by 0.1 degrees clockwise"
    assert moved(turn=-17.98) == "turned by 18.0 degrees counterclockwise"
    assert moved(zoom=1.052) == "5.2 % larger"
    assert moved(zoom=0.95) == "5.0 % smaller"
    assert moved(0.04, 0.03, 0.04, 1.0004) == "displaced by 0.06 px in the mean"


def test_tones_are_said_with_their_direction() -> None:
    assert toned(0.75, -0.02, -0.02, -0.02) == "contrast 25 % lower; a little darker"
    assert toned(1.2, 0.2, 0.2, 0.2) == "contrast 20 % higher; much brighter"
    assert toned(1.0, 0.08, 0.05, 0.02) == "brighter; warmer"
    assert toned(1.0, -0.02, 0.0, 0.02) == "a little cooler"
    assert toned(1.0, 0.0, 0.03, 0.0) == "a little brighter; a little greener"


def test_what_was_not_found_is_not_said() -> None:
    assert describe(HERE, AS_IT_WAS) == "neither displaced nor of another tone"
    both = Displacement.of(torch.tensor(similarity(1.0)), (100, 200), 1.0, None)
    assert describe(both, Tone(0.5, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), None)) == (
        "shifted by 1.0 px right; contrast 50 % lower"
    )
