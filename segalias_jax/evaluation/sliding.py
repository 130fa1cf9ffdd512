"""Class maps of images of any size: windows through a network, averaged where they overlap.

What is compiled depends on the size of a window and not on that of an image: the network itself,
adding its logits to a canvas, and reading a block of the result from the canvas, with positions and
weights of the interpolation as arguments. So a set of images of any sizes compiles three programs.
The canvas is at least as large as the largest image so far, in steps of `CANVAS_STEP` pixels; a
larger one compiles the last two, which are small, anew.

A network that sees whole images, or images that are smaller than a window, is compiled for each
size that it sees: padding them to a common size would change what global pooling and the low pass
see, and so the output.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Num

from segalias_jax.errors import InputError
from segalias_jax.evaluation.views import ViewSettings, view_images, window_starts
from segalias_jax.ops import bilinear_taps
from segalias_jax.typing import Array, UInt8

CANVAS_STEP = 512
"""Sides of the canvas are multiples of this, in pixels."""

BLOCK = 512
"""Side of the blocks in which results are read, in pixels."""

AHEAD = 2
"""Batches of windows that the device may have waiting; more would only fill its memory."""

MAX_CLASSES = 255
"""Class ids are bytes."""

_Taps = tuple[np.ndarray, np.ndarray]  # two canvas positions and weights for each output, [2, n]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A result that the device may still be working on; reading it waits.

    Attributes:
      size: (height, width) of the image.
      blocks: first row and column, classes and scores of each block.
      views: number of views that the scores are the sum of.
    """

    size: tuple[int, int]
    blocks: list[tuple[int, int, Array, Array | None]]
    views: int

    def classes(self) -> UInt8[np.ndarray, "h w"]:
        """Returns the class of every pixel."""
        out = np.empty(self.size, np.uint8)
        for top, left, block, _ in self.blocks:
            part = out[top : top + BLOCK, left : left + BLOCK]
            part[:] = np.asarray(block)[: part.shape[0], : part.shape[1]]
        return out

    def scores(self) -> Float[np.ndarray, "h w c"]:
        """Returns what the classes are the largest of; `InputError` where it was not asked for."""
        if self.blocks[0][3] is None:
            raise InputError("scores were not kept; start the prediction with probabilities=True")
        out = np.empty((*self.size, self.blocks[0][3].shape[-1]), np.float32)
        for top, left, _, block in self.blocks:
            part = out[top : top + BLOCK, left : left + BLOCK]
            np.divide(np.asarray(block)[: part.shape[0], : part.shape[1]], self.views, out=part)
        return out


class SlidingPredictor:
    """Predicts images of any size with a network, as `ViewSettings` say.

    Logits of windows are averaged where they overlap and resized to the image; with one view the
    largest logit decides, with several the largest mean of their probabilities (softmax).

    Work is handed to the device and not waited for: start the next image before reading the last
    one. One instance serves one thread.

    Args:
      forward: maps pixels [n, h, w, 3] to logits [n, h, w, c] on the device; called with n =
        `settings.batch_size` windows.
      settings: what the network sees.
      align_corners: of resizing logits, see `ops.resize_bilinear`.

    Example:
      >>> forward = lambda x: jax.nn.one_hot(x[..., 0], 3)
      >>> settings = ViewSettings("slide", window=(4, 4), stride=(2, 2))
      >>> image = np.arange(3 * 35, dtype=np.uint8).reshape(5, 7, 3) % 3
      >>> prediction = SlidingPredictor(forward, settings).start(image)
      >>> bool((prediction.classes() == image[..., 0]).all())
      True
    """

    def __init__(
        self,
        forward: Callable[[np.ndarray], Array],
        settings: ViewSettings,
        *,
        align_corners: bool = False,
    ):
        self.forward, self.settings, self.align_corners = forward, settings, align_corners
        self._canvas: Array | None = None
        self._zeros: Array | None = None
        self._running: collections.deque[Array] = collections.deque()

    def start(
        self,
        image: Num[np.ndarray, "h w 3"],
        *,
        probabilities: bool = False,
        logits: bool = False,
    ) -> Prediction:
        """Starts the prediction of an image.

        Args:
          image: its pixels, in what `forward` takes.
          probabilities: whether the scores shall be readable, as probabilities.
          logits: whether they shall be readable as logits; of one view only.

        Returns:
          The prediction.

        Raises:
          InputError: logits of several views.
        """
        return self.start_views(
            view_images(image, self.settings),
            image.shape[:2],
            probabilities=probabilities,
            logits=logits,
        )

    def start_views(
        self,
        views: list[tuple[np.ndarray, bool]],
        size: tuple[int, int],
        *,
        probabilities: bool = False,
        logits: bool = False,
    ) -> Prediction:
        """Starts the prediction of an image that was resized before.

        Args:
          views: what the network sees, and whether it is flipped, see `view_images`.
          size: (height, width) of the result.
          probabilities: whether the scores shall be readable, as probabilities.
          logits: whether they shall be readable as logits; of one view only.

        Returns:
          The prediction.

        Raises:
          InputError: logits of several views, or together with probabilities.
        """
        softmax = probabilities or len(views) > 1
        if logits and softmax:
            raise InputError(
                f"logits are those of one view, not of {len(views)}, nor beside probabilities; "
                "ask for probabilities"
            )
        totals: dict[tuple[int, int], Array] = {}
        classes: dict[tuple[int, int], Array] = {}
        for view, flipped in views:
            self._add_windows(view)
            for place, rows, columns in self._blocks(view.shape[:2], size, flipped):
                total = totals.get(place, self._zeros)
                totals[place], classes[place] = _read_block(
                    self._canvas, total, rows, columns, softmax=softmax
                )
        kept = totals if softmax or logits else {}
        blocks = [(*place, block, kept.get(place)) for place, block in classes.items()]
        return Prediction(size, blocks, len(views))

    def _add_windows(self, image: np.ndarray) -> None:
        """Puts the sum of all windows' logits onto the canvas, over what was there."""
        (height, width), (tops, lefts) = _grid(image.shape[:2], self.settings)
        places = list(itertools.product(_reached(tops, height), _reached(lefts, width)))
        batch = self.settings.batch_size
        for first in range(0, len(places), batch):
            chunk = places[first : first + batch]
            windows = np.zeros((batch, height, width, image.shape[2]), image.dtype)
            corners = np.zeros((batch, 4), np.int32)
            for i, ((top, seen_rows), (left, seen_columns)) in enumerate(chunk):
                windows[i] = image[top : top + height, left : left + width]
                corners[i] = top, left, seen_rows, seen_columns
            logits = self.forward(windows)
            self._make_room(image.shape[:2], logits)
            self._canvas = _add_logits(self._canvas, logits, corners, np.int32(len(chunk)))
            self._running.append(logits)
            if len(self._running) > AHEAD:
                jax.block_until_ready(self._running.popleft())

    def _make_room(self, size: tuple[int, ...], logits: Array) -> None:
        have = (0, 0) if self._canvas is None else self._canvas.shape[:2]
        need = [max(h, -(-s // CANVAS_STEP) * CANVAS_STEP) for h, s in zip(have, size, strict=True)]
        if tuple(need) == have:
            return
        classes = logits.shape[-1]
        if classes > MAX_CLASSES:
            raise InputError(f"a class map has at most {MAX_CLASSES} classes, not {classes}")
        # Windows may be split over devices; what they are added to is on all of them.
        place = logits.sharding
        if isinstance(place, NamedSharding):
            place = NamedSharding(place.mesh, PartitionSpec())
        dtype = np.dtype(logits.dtype)
        self._canvas = jax.device_put(np.zeros((*need, classes), dtype), place)
        self._zeros = jax.device_put(np.zeros((BLOCK, BLOCK, classes), dtype), place)

    def _blocks(
        self, view: tuple[int, ...], size: tuple[int, int], flipped: bool
    ) -> Iterator[tuple[tuple[int, int], _Taps, _Taps]]:
        """First row and column of every block, and the canvas's rows and columns it is made of."""
        (height, width), (tops, lefts) = _grid(view, self.settings)
        rows = _taps(view[0], size[0], height, tops, self.align_corners)
        columns = _taps(view[1], size[1], width, lefts, self.align_corners)
        if flipped:
            columns = columns[0][:, ::-1], columns[1][:, ::-1]
        for top, left in itertools.product(range(0, size[0], BLOCK), range(0, size[1], BLOCK)):
            yield (top, left), _taps_of_block(rows, top), _taps_of_block(columns, left)


def _grid(
    size: tuple[int, ...], settings: ViewSettings
) -> tuple[tuple[int, int], tuple[list[int], list[int]]]:
    """Size of the windows of an image, and where they start along either axis."""
    if settings.mode == "whole":
        return (size[0], size[1]), ([0], [0])
    height, width = map(min, settings.window, size)
    tops = window_starts(size[0], height, settings.stride[0])
    lefts = window_starts(size[1], width, settings.stride[1])
    return (height, width), (tops, lefts)


def _reached(starts: list[int], window: int) -> list[tuple[int, int]]:
    """Where each window starts, and how many of its pixels the one before reached."""
    ends = [starts[0], *(start + window for start in starts[:-1])]
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _taps(length: int, wanted: int, window: int, starts: list[int], align_corners: bool) -> _Taps:
    """Canvas pixels and weights of each output along one axis.

    Windows form a grid, so the number of them that reach a pixel is a product of one number for
    its row and one for its column; the weights are divided by both.
    """
    count = np.zeros(length)
    for start in starts:
        count[start : start + window] += 1
    samples, weights = bilinear_taps(length, wanted, align_corners=align_corners)
    return samples.astype(np.int32), (weights / count[samples]).astype(np.float32)


def _taps_of_block(taps: _Taps, first: int) -> _Taps:
    """Those of the outputs from `first` on, filled up to the length of a block."""
    samples, weights = (array[:, first : first + BLOCK] for array in taps)
    missing = [(0, 0), (0, BLOCK - samples.shape[1])]
    return np.pad(samples, missing), np.pad(weights, missing)


@functools.partial(jax.jit, donate_argnums=0)
def _add_logits(canvas: Array, logits: Array, corners: Array, count: Array) -> Array:
    """Adds the first `count` windows; pixels not reached before are overwritten instead."""
    size = logits.shape[1:]
    row = jax.lax.broadcasted_iota(jnp.int32, (*size[:2], 1), 0)
    column = jax.lax.broadcasted_iota(jnp.int32, (*size[:2], 1), 1)

    def add(i: Array, canvas: Array) -> Array:
        top, left, seen_rows, seen_columns = corners[i]
        here = jax.lax.dynamic_slice(canvas, (top, left, 0), size)
        seen = (row < seen_rows) | (column < seen_columns)
        here = jnp.where(seen, here, 0) + logits[i]
        return jax.lax.dynamic_update_slice(canvas, here, (top, left, 0))

    return jax.lax.fori_loop(0, count, add, canvas)


@functools.partial(jax.jit, static_argnames="softmax")
def _read_block(
    canvas: Array,
    total: Array,
    rows: tuple[Array, Array],
    columns: tuple[Array, Array],
    *,
    softmax: bool,
) -> tuple[Array, Array]:
    """Interpolates a block, adds it to `total`, and says which class is the largest."""
    (at_row, row_weight), (at_column, column_weight) = rows, columns
    block = 0
    for i, j in itertools.product(range(2), range(2)):
        weight = row_weight[i][:, None] * column_weight[j]
        block += canvas[at_row[i][:, None], at_column[j]] * weight[..., None]
    if softmax:
        block = jax.nn.softmax(jax.lax.optimization_barrier(block))
    total = total + block
    return total, jnp.argmax(total, -1).astype(jnp.uint8)
