"""From the numbers of a file to sRGB, relative colorimetric; colours outside sRGB are clipped.

Profiles made of three curves and a matrix, and the PNG and AVIF colour tags, are computed here in floating point, so
that 16 bits stay 16 bits. Profiles with tables, CMYK and Lab go through LittleCMS at 8 bits.

Source: ITU-T H.273 (code points); PNG third edition, 4.3 (precedence of tags); the rest in `pim.images.shaper`.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pim.errors import InputError
from pim.images.raster import CHANNELS, HDR, ColourTags, Conversion, Convert, Samples, Space, scaled
from pim.images.shaper import (
    BT709,
    D65,
    Shaper,
    decode,
    linear_to_srgb,
    power,
    shaper_of,
    srgb_to_linear,
    tags_of,
    to_pcs,
    to_srgb,
)

_PRIMARIES = {
    1: BT709,
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_UNSPECIFIED, _SRGB = 2, 13
_VIDEO = (1, 6, 14, 15)  # BT.709, BT.601, BT.2020: the camera's curve, meant for a screen like sRGB
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_GAMMA_CLOSE = 0.01
_GAMMA_LEAST, _GAMMA_MOST = 0.1, 10  # beyond, nearly all levels are black or white
_LEAST_CONTRAST, _LEAST_STEPS = 0.25, 4  # between black and white, and of the nine levels of a ramp
_SIGNATURES = {b"GRAY": "GRAY", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "LAB"}
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "LAB": "LAB"}


def conversion(space: Space, peak: int, tags: ColourTags) -> Conversion:
    """Find the conversion to sRGB that the tags of a file ask for; a broken or foreign profile is ignored, with a note.

    Raises:
        InputError: if the file is HDR or of an encoding that is not known here.
    """
    if space in ("GRAY", "RGB") and tags.cicp is not None and tags.cicp != (_UNSPECIFIED, _UNSPECIFIED):
        tagged, notes = _from_cicp(*tags.cicp)
        return Conversion(_shaped(space, peak, tagged), None, notes)
    if tags.icc is not None:
        _check_transfer(_stated_transfer(tags.icc))
        try:
            return _from_profile(space, peak, tags.icc)
        except (ImageCms.PyCMSError, OSError, ValueError, struct.error) as error:
            reason = f"the colour profile cannot be used ({error}) and was ignored"
        without = conversion(space, peak, ColourTags(srgb=True))
        return Conversion(without.convert, None, (reason, *without.notes))
    if space == "CMYK":
        notes = ("CMYK without a colour profile: converted by Pillow's plain formula", *_rounding(peak, "CMYK"))
        return Conversion(
            lambda samples: _as_float(_picture("CMYK", _eight_bits(samples, peak)).convert("RGB")), None, notes
        )
    if space == "LAB":
        return Conversion(_managed("LAB", ImageCms.createProfile("LAB")), None, ("Lab converted to sRGB",))
    shaper, said = (None, ()) if tags.srgb else _from_gamma(tags.gamma, tags.chromaticities)
    return Conversion(_shaped(space, peak, shaper), None, said)


def _from_cicp(primaries: int, transfer: int) -> tuple[Shaper, tuple[str, ...]]:
    _check_transfer(transfer)
    if transfer not in (_SRGB, _UNSPECIFIED, *_VIDEO, *_GAMMAS):
        raise InputError(f"has the transfer function {transfer} of ITU-T H.273, which cannot be read")
    corners = _PRIMARIES.get(1 if primaries == _UNSPECIFIED else primaries)
    if corners is None:
        raise InputError(f"has the colour primaries {primaries} of ITU-T H.273, which cannot be read")
    curve = power(_GAMMAS[transfer]) if transfer in _GAMMAS else srgb_to_linear
    shaper = Shaper((curve,) * 3, to_srgb(to_pcs(corners)))
    notes = [] if shaper.is_srgb() else [f"primaries {primaries}, transfer {transfer} (ITU-T H.273) converted to sRGB"]
    if transfer in _VIDEO:
        notes.append(f"video transfer function {transfer} taken as that of sRGB")
    return shaper, tuple(notes)


def _check_transfer(transfer: int | None) -> None:
    if transfer in HDR:
        raise InputError(f"is HDR ({HDR[transfer]} transfer, code point {transfer}): there is no one way to sRGB")


def _stated_transfer(icc: bytes) -> int | None:
    """The transfer function that a profile names beside its curves, a code point (ICC.1:2022, 9.2.17)."""
    with suppress(struct.error):
        return next(iter(tags_of(icc).get(b"cicp", b"")[9:10]), None)
    return None


def _from_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None) -> tuple[Shaper | None, tuple[str, ...]]:
    """PNG's gAMA and cHRM; a gamma of 1/2.2 stands for the curve of sRGB."""
    if gamma is not None and not _GAMMA_LEAST <= gamma <= _GAMMA_MOST:
        return None, (f"gamma {gamma:.5g} makes no sense and was ignored",)
    near = gamma is None or abs(gamma * 2.2 - 1) < _GAMMA_CLOSE
    curve = srgb_to_linear if near or gamma is None else power(1 / gamma)
    notes: tuple[str, ...] = () if near else (f"gamma {gamma:.5g} converted to sRGB",)
    if chromaticities is None:
        return Shaper((curve,) * 3, np.eye(3)), notes
    try:
        matrix = to_srgb(to_pcs(chromaticities))
    except ValueError:
        return Shaper((curve,) * 3, np.eye(3)), (*notes, "impossible chromaticities (cHRM) were ignored")
    if not Shaper((srgb_to_linear,) * 3, matrix).is_srgb():
        notes = (*notes, "chromaticities (cHRM) converted to sRGB")
    return Shaper((curve,) * 3, matrix), notes


def _from_profile(space: Space, peak: int, icc: bytes) -> Conversion:
    """Through an ICC profile; raises what `conversion` takes as "broken"."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
    holds = _SIGNATURES.get(icc[16:20])
    if holds != space and not (space == "GRAY" and holds == "RGB"):
        raise ValueError(f"it is for {icc[16:20].decode('ascii', 'replace').strip()}, the picture is {space}")
    shaper = shaper_of(icc)
    if shaper is not None:
        shaped = _shaped(space, peak, shaper)
        _check_sense(shaped, space, peak)
        return Conversion(shaped, name)
    managed = _managed(holds or space, profile)

    def convert(samples: Samples) -> NDArray[np.float32]:
        samples = _eight_bits(samples, peak)
        return managed(samples if holds == space else samples.repeat(3, -1))

    _check_sense(convert, space, peak)
    return Conversion(convert, name, _rounding(peak, f"the colour profile {name!r} has tables"))


def _check_sense(convert: Convert, space: Space, peak: int) -> None:
    """Refuse, by ValueError, a conversion that shows nothing: lighter numbers must be lighter, each channel count.

    A profile of zeros would make all pictures black, and any two of them equal.
    """
    if space == "LAB":
        return
    black, white = (peak, 0) if space == "CMYK" else (0, peak)
    ramp = np.rint(np.linspace(black, white, 9)).astype(np.uint16)
    lightness = convert(ramp[None, :, None].repeat(CHANNELS[space], -1))[0].mean(-1)
    steps = np.diff(lightness)
    if steps.min() < 0 or steps.sum() < _LEAST_CONTRAST or np.count_nonzero(steps) < _LEAST_STEPS:
        raise ValueError("black and white come out alike")
    one_black = np.where(np.eye(CHANNELS[space], dtype=bool), black, white).astype(np.uint16)
    shown = convert(np.concatenate([one_black, ramp[-1:].repeat(CHANNELS[space])[None]])[None])[0]
    if (shown[:-1] == shown[-1]).all(-1).any():
        raise ValueError("one of its channels changes nothing")


def _eight_bits(samples: Samples, peak: int) -> Samples:
    return samples.astype(np.uint8) if peak == 255 else np.rint(samples * (255 / peak)).astype(np.uint8)


def _rounding(peak: int, reason: str) -> tuple[str, ...]:
    return () if peak <= 255 else (f"{reason}: converted at 8 bits",)


def _managed(mode: str, profile: Any) -> Convert:
    """Through LittleCMS, on 8-bit samples."""
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), _MODES[mode], "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    return lambda samples: _as_float(transform.apply(_picture(_MODES[mode], samples)))


def _picture(mode: str, samples: Samples) -> Image.Image:
    height, width, _ = samples.shape
    return Image.frombytes(mode, (width, height), samples.tobytes())


def _as_float(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture).astype(np.float32) / np.float32(255)


def _shaped(space: Space, peak: int, shaper: Shaper | None) -> Convert:
    """Through curves and matrix; exactly sample / peak where these are those of sRGB."""
    if shaper is None or shaper.is_srgb():
        return scaled(peak)
    levels = np.arange(peak + 1) / peak
    tables = [decode(curve, levels).astype(np.float32) for curve in shaper.curves]
    matrix = None if shaper.matrix is None else shaper.matrix.T.astype(np.float32)

    def convert(samples: Samples) -> NDArray[np.float32]:
        if len(tables) == 1:
            light = tables[0][samples].repeat(3, -1)
        else:
            channels = [samples[..., min(i, CHANNELS[space] - 1)] for i in range(3)]
            light = np.stack([table[channel] for table, channel in zip(tables, channels, strict=True)], -1)
        if matrix is not None:
            light = np.clip(light @ matrix, 0, 1)
        encoded: NDArray[np.float32] = np.minimum(linear_to_srgb(light), 1)
        return encoded

    return convert
