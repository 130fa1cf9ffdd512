"""Images as a camera would have taken them in the dark, by a physical model of its noise.

An image is taken back to the light on the sensor (tone curve, gamma, color matrix, white balance),
sampled by the sensor's mosaic, dimmed, given the noise of a Sony A7S II, amplified by as much, and
demosaiced. The result stays in the camera's linear colors, as the published code leaves it, unless
`develop` takes it forward again.

Draws come from the generator alone, so a darkened image is a function of seed and index.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.geometry import Sample
from segalias_jax.settings import check_settings, interval, one_of, setting
from segalias_jax.typing import Float, UInt8

FORMS = ("text", "reference")
SATURATION = 15871.0  # of the sensor, in its own units
_GAINS = (0.2181895124454343, 13.964128796507795)  # smallest and largest K
# ln scale = slope ln K + bias, with the deviation of the fit: of Tukey's lambda and of the rows.
_READ_FIT = (0.6558756156508007, 1.09268679594838, 0.28604721742277756)
_ROW_FIT = (0.4712797750747537, -0.8078958947116487, 0.2436176299944695)
# Shapes of Tukey's lambda that were measured, one a setting of the camera.
_SHAPES = (
    *(0.15714285714285714, 0.14285714285714280, 0.08571428571428574, 0.08571428571428574),
    *(0.2, 0.2, 0.09999999999999998, 0.08571428571428574, 0.05714285714285716),
    *(0.07142857142857140, 0.02857142857142858, 0.02857142857142858, 0.014285714285714235),
    *(0.02857142857142858, 0.08571428571428574, 0.07142857142857140, 0.11428571428571421),
    0.11428571428571421,
)
_RGB_TO_CAMERA = np.array(
    [
        [0.531983770130, 0.402534425202, 0.065481858041],
        [0.075941225952, 0.693871376196, 0.230187393087],
        [0.030683672875, 0.258876443191, 0.710439901050],
    ]
)
_HIGHLIGHT = 0.9  # brighter ones keep their value, since they may have been cut off
# Of the mosaic R G / G B by the names of OpenCV, of which the second counts from the second pixel.
_DEMOSAIC = {"text": cv2.COLOR_BayerRGGB2RGB, "reference": cv2.COLOR_BAYER_RG2RGB}


@dataclasses.dataclass(frozen=True)
class LowLight:
    """How images are darkened.

    Raises:
      InputError: a value outside its range, by the setting's name.

    Example:
      >>> LowLight(ratio=(100.0, 10.0))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: ratio: (100.0, 10.0) is not (smallest, largest) with \
1 <= smallest <= largest
    """

    ratio: tuple[float, float] = setting(
        (10.0, 100.0),
        "smallest and largest factor by which light is missing",
        check=interval(least=1),
    )
    form: str = setting(
        "text",
        """"text": as the paper says; "reference": as its code does, with one quantization error an
        image, 8 bits before demosaicing, and red and blue swapped""",
        check=one_of(FORMS),
    )
    develop: bool = setting(
        False,
        "take the demosaiced image back to sRGB, instead of leaving it in the camera's colors",
    )

    def __post_init__(self) -> None:
        """Checks every value."""
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Camera:
    """What is drawn for one image.

    Attributes:
      gain: K, units of the sensor for a photon.
      ratio: by which light is missing.
      read_scale: of Tukey's lambda.
      read_shape: of Tukey's lambda.
      row_scale: standard deviation of the rows' offsets.
      rgb_gain: g.
      red_gain: r.
      blue_gain: b.

    Example:
      >>> Camera.draw(LowLight(), np.random.default_rng(0)).gain > 0.2
      True
    """

    gain: float
    ratio: float
    read_scale: float
    read_shape: float
    row_scale: float
    rgb_gain: float
    red_gain: float
    blue_gain: float

    @classmethod
    def draw(cls, settings: LowLight, rng: np.random.Generator) -> Camera:
        """Draws a camera and its light.

        ln K ~ U(ln .2182, ln 13.964), g = 1 / N(.8, .1), r ~ U(1.9, 2.4), b ~ U(1.5, 1.9); the
        scales are log-normal about a line in ln K.

        Args:
          settings: gives the range of the ratio.
          rng: where all come from.

        Returns:
          The camera.
        """
        log_gain = rng.uniform(np.log(_GAINS[0]), np.log(_GAINS[1]))
        read, row = (
            float(np.exp(slope * log_gain + bias + deviation * rng.standard_normal()))
            for slope, bias, deviation in (_READ_FIT, _ROW_FIT)
        )
        return cls(
            gain=float(np.exp(log_gain)),
            ratio=float(rng.uniform(*settings.ratio)),
            read_scale=read,
            read_shape=_SHAPES[int(rng.integers(len(_SHAPES)))],
            row_scale=row,
            rgb_gain=float(1 / rng.normal(0.8, 0.1)),
            red_gain=float(rng.uniform(1.9, 2.4)),
            blue_gain=float(rng.uniform(1.5, 1.9)),
        )


@dataclasses.dataclass(frozen=True)
class Darken:
    """Darkens an image, or adds a dark copy to it; see `darken`.

    Needs: image. Changes: image, or adds dark.

    Args:
      settings: how.
      probability: how often an image is darkened.
      pair: keep the image, and put the other one beside it as "dark".

    Example:
      >>> sample = {"image": np.full((4, 4, 3), 200, np.uint8)}
      >>> sorted(Darken(LowLight(), pair=True)(sample, np.random.default_rng(0)))
      ['dark', 'image']
    """

    settings: LowLight
    probability: float = 1.0
    pair: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a camera and its noise."""
        image = sample["image"]
        dark = darken(image, rng, self.settings) if rng.random() < self.probability else image
        return sample | {"dark" if self.pair else "image": dark}


def darken(
    image: UInt8[np.ndarray, "h w 3"],
    rng: np.random.Generator,
    settings: LowLight | None = None,
    camera: Camera | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns an image as a camera would have taken it in the dark.

    Sides that are odd are reflected by a pixel for the mosaic and cut off again.

    Args:
      image: RGB.
      rng: where the camera and the noise come from.
      settings: how; None for the defaults.
      camera: None to draw one.

    Returns:
      RGB in linear colors of the camera, or in sRGB with `settings.develop`.

    Example:
      >>> image = np.full((5, 4, 3), 200, np.uint8)
      >>> darken(image, np.random.default_rng(0)).shape
      (5, 4, 3)

    Reference:
      Chen et al., "Instance Segmentation in the Dark", IJCV 2023; Brooks et al., "Unprocessing
      Images for Learned Raw Denoising", CVPR 2019; Wei et al., "A Physics-based Noise Formation
      Model for Extreme Low-light Raw Denoising", CVPR 2020.
    """
    settings = settings or LowLight()
    camera = camera or Camera.draw(settings, rng)
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="symmetric")
    raw = mosaic(unprocess(even / 255.0, camera))
    raw = add_noise(raw, rng, camera, form=settings.form)
    linear = demosaic(raw, form=settings.form)[:height, :width]
    if settings.develop:
        linear = process(linear, camera)
    return np.rint(linear * 255).astype(np.uint8)


def unprocess(image: Float[np.ndarray, "h w 3"], camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """Returns the light on the sensor of an image.

    x <- 1/2 - sin(asin(1 - 2x) / 3), x <- x^2.2, x <- M x with M the camera's color matrix, and
    x <- max(m + (1 - m) s, s) x with s = (1/r, 1, 1/b) / g and m = (max(mean x - .9, 0) / .1)^2.

    Args:
      image: sRGB in [0, 1].
      camera: gives the gains.

    Returns:
      Linear colors of the camera.

    Example:
      >>> camera = Camera(1.0, 10.0, 1.0, 0.1, 1.0, rgb_gain=1.25, red_gain=2.0, blue_gain=1.6)
      >>> unprocess(np.full((1, 1, 3), 0.5), camera).round(3).tolist()
      [[[0.087, 0.174, 0.109]]]
    """
    x = 0.5 - np.sin(np.arcsin(1 - 2 * image) / 3)
    x = np.maximum(x, 1e-8) ** 2.2
    x = x @ _RGB_TO_CAMERA.T
    gains = _white_gains(camera)
    mask = (np.maximum(x.mean(-1, keepdims=True) - _HIGHLIGHT, 0) / (1 - _HIGHLIGHT)) ** 2
    return x * np.maximum(mask + (1 - mask) * gains, gains)


def process(linear: Float[np.ndarray, "h w 3"], camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """Returns the sRGB image of linear colors: the inverse of `unprocess`, but for highlights.

    x <- x / s, x <- M^-1 x, x <- x^(1/2.2), x <- 3x^2 - 2x^3.

    Args:
      linear: colors of the camera in [0, 1].
      camera: gives the gains.

    Returns:
      sRGB in [0, 1].

    Example:
      >>> camera = Camera(1.0, 10.0, 1.0, 0.1, 1.0, rgb_gain=1.25, red_gain=2.0, blue_gain=1.6)
      >>> process(unprocess(np.full((1, 1, 3), 0.5), camera), camera).round(6).tolist()
      [[[0.5, 0.5, 0.5]]]
    """
    x = (linear / _white_gains(camera)) @ np.linalg.inv(_RGB_TO_CAMERA).T
    x = np.clip(x, 1e-8, 1) ** (1 / 2.2)
    return 3 * x**2 - 2 * x**3


def mosaic(linear: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Returns what the sensor sees: at each pixel one of the colors, R G in even rows, G B in odd.

    Args:
      linear: colors of the camera; both sides are even.

    Returns:
      The mosaic.

    Example:
      >>> mosaic(np.arange(12.0).reshape(2, 2, 3)).tolist()
      [[0.0, 4.0], [7.0, 11.0]]
    """
    seen = linear[..., 1].copy()
    seen[::2, ::2] = linear[::2, ::2, 0]
    seen[1::2, 1::2] = linear[1::2, 1::2, 2]
    return seen


def add_noise(
    raw: Float[np.ndarray, "h w"],
    rng: np.random.Generator,
    camera: Camera,
    *,
    form: str = "text",
) -> Float[np.ndarray, "h w"]:
    """Returns a mosaic with less light, the sensor's noise, and the amplification that follows.

    y = 15871 x / ratio, z = K Poisson(y / K) + TukeyLambda + row + U(-.5, .5), and
    clip(ratio z / 15871, 0, 1). Rows are those of the sensor. In the form "reference" the four
    planes of the mosaic have rows of their own, and the quantization error is one for all pixels.

    Args:
      raw: light on the sensor, 1 where it saturates.
      rng: where the noise comes from.
      camera: gives its parameters.
      form: one of `FORMS`.

    Returns:
      The mosaic in [0, 1].

    Example:
      >>> camera = Camera(1.0, 10.0, 1.0, 0.1, 1.0, rgb_gain=1.25, red_gain=2.0, blue_gain=1.6)
      >>> noisy = add_noise(np.full((64, 64), 0.5), np.random.default_rng(0), camera)
      >>> bool(abs(noisy.mean() - 0.5) < 1e-3)
      True
    """
    height, width = raw.shape
    photons = np.maximum(raw, 0) * (SATURATION / camera.ratio / camera.gain)
    z = camera.gain * rng.poisson(photons).astype(np.float64)
    z += tukey_lambda(rng, camera.read_shape, camera.read_scale, raw.shape)
    if form == "reference":
        rows = camera.row_scale * rng.standard_normal((height, 2))
        z += np.tile(rows, width // 2)
        z += rng.uniform(-0.5, 0.5)
    else:
        z += camera.row_scale * rng.standard_normal((height, 1))
        z += rng.uniform(-0.5, 0.5, raw.shape)
    return np.clip(z * (camera.ratio / SATURATION), 0, 1)


def tukey_lambda(
    rng: np.random.Generator, shape: float, scale: float, size: tuple[int, ...]
) -> Float[np.ndarray, ...]:
    """Draws from Tukey's lambda distribution: scale (u^l - (1 - u)^l) / l with u ~ U(0, 1).

    Args:
      rng: where the draws come from.
      shape: l > 0.
      scale: of the draws.
      size: of the array.

    Returns:
      The draws.

    Example:
      >>> tukey_lambda(np.random.default_rng(0), 0.1, 2.0, (3,)).shape
      (3,)
    """
    u = rng.random(size)
    return scale / shape * (u**shape - (1 - u) ** shape)


def demosaic(raw: Float[np.ndarray, "h w"], *, form: str = "text") -> Float[np.ndarray, "h w 3"]:
    """Returns the colors of a mosaic, bilinear as OpenCV has it.

    OpenCV takes integers. They have 16 bits here, which is 256 times finer than what becomes of
    them; in the form "reference" 8, and what comes first and is called red is blue.

    Args:
      raw: mosaic in [0, 1].
      form: one of `FORMS`.

    Returns:
      RGB in [0, 1].

    Example:
      >>> demosaic(np.full((4, 4), 0.25))[1, 1].round(4).tolist()
      [0.25, 0.25, 0.25]
    """
    kind: Any = np.uint8 if form == "reference" else np.uint16
    most = float(np.iinfo(kind).max)
    stored = np.rint(raw * most).astype(kind)
    return cv2.cvtColor(stored, _DEMOSAIC[form]) / most


def _white_gains(camera: Camera) -> np.ndarray:
    return np.array([1 / camera.red_gain, 1.0, 1 / camera.blue_gain]) / camera.rgb_gain
