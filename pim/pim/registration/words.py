"""What registration found, in words."""

from __future__ import annotations

from pim.pim.registration.displacement import Displacement
from pim.pim.registration.geometric import LUMA
from pim.pim.registration.tone import Tone


def describe(displacement: Displacement, tone: Tone) -> str:
    """Say how a distorted picture lies beside its reference and how its tone has changed, in one line.

    >>> from pim.pim.registration.tone import Tone
    >>> describe_tone(Tone(0.75, (-0.02, -0.02, -0.02), (0.5, 0.5, 0.5), None))
    'contrast 25 % lower; a little darker'
    """
    parts = [describe_displacement(displacement), describe_tone(tone)]
    return "; ".join(part for part in parts if part) or "neither displaced nor of another tone"


def describe_displacement(displacement: Displacement) -> str:
    """Say what a displacement is, in one line; empty where there is none."""
    if not displacement.found:
        return ""
    right, down = (round(length, 1) for length in displacement.shift)
    ways = [(right, "right" if right > 0 else "left"), (down, "down" if down > 0 else "up")]
    shift = " and ".join(f"{abs(length):.1f} px {way}" for length, way in ways if length)
    turn, zoom = round(displacement.turn, 1), round(displacement.zoom, 1)
    parts = [
        f"shifted by {shift}" if shift else "",
        f"turned by {abs(turn):.1f} degrees {'' if turn > 0 else 'counter'}clockwise" if turn else "",
        f"{abs(zoom):.1f} % {'larger' if zoom > 0 else 'smaller'}" if zoom else "",
    ]
    return "; ".join(part for part in parts if part) or f"displaced by {displacement.pixels:.2f} px in the mean"


def describe_tone(tone: Tone) -> str:
    """Say what a change of tone is, in one line; empty where there is none."""
    if not tone.found:
        return ""
    percent = round(100 * (tone.contrast - 1))
    red, green, blue = tone.brightness
    light = sum(weight * offset for weight, offset in zip(LUMA, tone.brightness, strict=True))
    parts = [
        f"contrast {abs(percent)} % {'higher' if percent > 0 else 'lower'}" if percent else "",
        _amount(light, "brighter", "darker", 0.01),
        _amount(red - blue, "warmer", "cooler", 0.01),
        _amount(green - (red + blue) / 2, "greener", "more magenta", 0.01),
    ]
    return "; ".join(part for part in parts if part) or "a trace of another tone"


def _amount(change: float, more: str, less: str, least: float) -> str:
    """How much a change of values in [0, 1] is: under .05 a little, over .15 much."""
    if abs(change) < least:
        return ""
    how = "a little " if abs(change) < 0.05 else "much " if abs(change) > 0.15 else ""
    return how + (more if change > 0 else less)
