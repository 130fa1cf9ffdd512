"""Skeletons of masks, for structures that are too thin for areas to say much about them.

Only pixels whose neighborhood changed are looked at again, so that a skeleton costs time in
proportion to the area of the mask and not to that times its thickness.
"""

from __future__ import annotations

import numpy as np

from segalias_jax.typing import Bool, UInt8

# Clockwise from the neighbor above: down, right.
_NEIGHBORS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _removable() -> Bool[np.ndarray, "2 256"]:
    """Whether Guo and Hall remove a pixel in each of two turns, by the bits of its neighbors."""
    p2, p3, p4, p5, p6, p7, p8, p9 = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)
    # Parts that the neighbors fall into: more than one would be torn apart.
    parts = [~p2 & (p3 | p4), ~p4 & (p5 | p6), ~p6 & (p7 | p8), ~p8 & (p9 | p2)]
    first = np.sum([p9 | p2, p3 | p4, p5 | p6, p7 | p8], axis=0)
    second = np.sum([p2 | p3, p4 | p5, p6 | p7, p8 | p9], axis=0)
    neighbors = np.minimum(first, second)
    # Ends have one neighbor and stay.
    common = (np.sum(parts, axis=0) == 1) & (neighbors >= 2) & (neighbors <= 3)
    sides = (p2 | p3 | ~p5) & p4, (p6 | p7 | ~p9) & p8
    return np.stack([common & ~side for side in sides])


_REMOVABLE = _removable()

# Bits of a place while it is thinned: set, and listed to be looked at in either turn.
_SET, _WAITS = np.uint8(1), (np.uint8(2), np.uint8(4))


def skeleton(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Thins a mask to lines of one pixel that are connected as it was.

    Pixels are removed in two turns, over and over, where that tears nothing apart and shortens no
    end. Beyond the border of the picture nothing is set.

    Args:
      mask: of one class or object.

    Returns:
      The skeleton, a part of the mask.

    Example:
      >>> mask = np.zeros((5, 7), bool)
      >>> mask[1:4, 1:6] = True
      >>> np.argwhere(skeleton(mask)).tolist()
      [[2, 2], [2, 3], [2, 4]]

    Reference:
      Guo and Hall, "Parallel Thinning with Two-Subiteration Algorithms", 1989 (A1).
    """
    height, width = mask.shape
    framed = np.zeros((height + 2, width + 2), np.uint8)
    framed[1:-1, 1:-1] = mask
    steps = np.asarray([down * (width + 2) + right for down, right in _NEIGHBORS])
    flat = framed.reshape(-1)
    # Inside, where all neighbors are set, nothing is removed.
    edge = _edge(framed)
    flat[edge] |= _WAITS[0] | _WAITS[1]
    waiting = [[edge], [edge]]
    while any(waiting):
        for turn in (0, 1):
            places = np.concatenate([edge[:0], *waiting[turn]])
            waiting[turn] = []
            flat[places] &= ~_WAITS[turn]
            places = places[flat[places] != 0]
            bits = np.zeros(len(places), np.uint8)
            for bit, step in enumerate(steps):
                bits |= (flat[places + step] & _SET) << np.uint8(bit)
            gone = places[_REMOVABLE[turn, bits]]
            flat[gone] = 0
            for step in steps if len(gone) else ():
                near = gone + step
                state = flat[near]
                for lists, waits in zip(waiting, _WAITS, strict=True):
                    # Along one step all places differ, so that none is listed twice.
                    fresh = near[(state & (_SET | waits)) == _SET]
                    flat[fresh] |= waits
                    if len(fresh):
                        lists.append(fresh)
    return (framed[1:-1, 1:-1] & _SET).astype(bool)


def _edge(framed: UInt8[np.ndarray, "h w"]) -> np.ndarray:
    """Places of the set pixels of a framed mask that have a neighbor that is not set."""
    inner = np.ones((framed.shape[0], framed.shape[1] - 2), np.uint8)
    inner &= framed[:, :-2] & framed[:, 1:-1] & framed[:, 2:]
    inner = inner[:-2] & inner[1:-1] & inner[2:]
    rows, columns = np.nonzero(framed[1:-1, 1:-1] > inner)
    return (rows + 1) * framed.shape[1] + columns + 1
