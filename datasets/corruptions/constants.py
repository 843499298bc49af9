"""The published strengths of the corruptions: one row of numbers for each severity from 1 to 5.

Source: hendrycks/robustness (Apache-2.0), arXiv 1903.12261. The two tables are different benchmarks;
numbers made with one say nothing about the other. Tiny-ImageNet-C is without snow and spatter here.
"""

from __future__ import annotations

from collections.abc import Mapping

Constants = tuple[float, ...]
Table = Mapping[str, tuple[Constants, Constants, Constants, Constants, Constants]]

_CONTRAST = ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))
_BRIGHTNESS = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))
_FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
_TINY_FROST = ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55))

IMAGENET_C: Table = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),  # deviation
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),  # photons at white
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),  # share of samples
    "speckle_noise": ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),  # deviation relative to the value
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),  # sigma
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),  # radius, sigma of its rim
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),  # sigma, reach, rounds
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # radius, sigma
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),  # end, step of arange
    "snow": (  # mean and deviation of flakes, zoom, threshold, radius and sigma of motion, share of the picture
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": _FROST,  # weights of picture and overlay
    "frost_synthetic": _FROST,
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # amount, decay of the plasma
    "brightness": _BRIGHTNESS,  # added to V
    "contrast": _CONTRAST,  # factor about the mean
    "elastic_transform": (  # amplitude, sigma, movement of corners, all in pixels at 224
        (488, 170.8, 24.4),
        (488, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),  # scale
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),  # quality
    "spatter": (  # mean and deviation of the layer, blur, threshold, strength, 1 for mud
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),  # factor and shift of S
}

TINY_IMAGENET_C: Table = {
    "gaussian_noise": ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
    "shot_noise": ((250,), (100,), (50,), (30,), (15,)),
    "impulse_noise": ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
    "speckle_noise": ((0.15,), (0.2,), (0.25,), (0.3,), (0.35,)),
    "gaussian_blur": ((0.5,), (0.75,), (1,), (1.25,), (1.5,)),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "frost": _TINY_FROST,
    "frost_synthetic": _TINY_FROST,
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _BRIGHTNESS,
    "contrast": _CONTRAST,
    "elastic_transform": (  # in pixels at 64
        (0, 0, 5.12),
        (3.2, 19.2, 3.84),
        (6.4, 5.12, 3.84),
        (6.4, 1.92, 1.92),
        (10.24, 1.92, 1.28),
    ),
    "pixelate": ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
    "jpeg_compression": ((65,), (58,), (50,), (40,), (25,)),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}
