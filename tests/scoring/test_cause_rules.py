"""Each cause where it is made on purpose, with discs on an empty ground and with regions."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring import CAUSES, CauseSettings, error_types

Y, X = np.indices((80, 120))


def disc(y, x, radius):
    return (Y - y) ** 2 + (X - x) ** 2 <= radius**2


def scene(*discs, base=0):
    """A map with (mask, class) laid over each other."""
    ids = np.full(Y.shape, base, np.uint8)
    for mask, k in discs:
        ids[mask] = k
    return ids


def only(prediction, label, **settings):
    """The one cause there is, or all that there are, with pixels."""
    causes, pixels = error_types(
        prediction, label, num_classes=settings.pop("classes", 2), **settings
    )
    wrong = (prediction != label) & (label != 255)
    np.testing.assert_array_equal((causes > 0) & (causes < 255), wrong)
    found = {name: count for name, count in pixels.items() if count}
    assert sum(found.values()) == wrong.sum()
    return next(iter(found)) if len(found) == 1 else found


A, B = (disc(30, 30, 12), 1), (disc(40, 80, 15), 1)


def test_missed_and_false_objects():
    assert only(scene(A), scene(A, B)) == "missed object"
    assert only(scene(A, B), scene(A)) == "false object"
    part = (disc(40, 80, 15) & (X < 72), 1)  # less than a quarter is found
    assert only(scene(A, part), scene(A, B)) == "missed object"
    assert only(scene(A, part), scene(A, B), coverage=0.05) != "missed object"


def test_one_of_two_touching_objects():
    """They are one true component, of which most is found."""
    twin = (disc(40, 53, 12), 1)
    assert only(scene(A), scene(A, twin)) == "missed object"
    assert only(scene(A, twin), scene(A)) == "false object"


def test_displaced_objects_thick_and_thin():
    for shift in (1, 2, 4):
        assert only(np.roll(scene(A, B), shift, 1), scene(A, B)) == "displacement"
    line = scene((X == 40, 1))
    assert only(np.roll(line, 4, 1), line) == "displacement"
    assert set(only(np.roll(line, 4, 1), line, reach=0)) == {"missed object", "false object"}
    assert set(only(np.roll(line, 20, 1), line)) == {"missed object", "false object"}
    assert only(scene((disc(30, 30, 15), 1)), scene(A)) == "displacement"
    assert only(scene((disc(30, 30, 9), 1)), scene(A)) == "displacement"


def test_merge_and_split():
    bridge = ((np.abs(Y - 35) < 3) & (X > 30) & (X < 80), 1)
    assert only(scene(A, B, bridge), scene(A, B)) == "merge"
    assert only(scene(A, B), scene(A, B, bridge)) == "split"
    cut = ((np.abs(X - 80) < 3), 0)
    assert only(scene(B, cut), scene(B)) == "split"


def test_holes():
    hole = (disc(40, 80, 6), 0)
    assert only(scene(B, hole), scene(B)) == "interior hole"
    assert only(scene(B), scene(B, hole)) == "interior hole"
    notch = (disc(40, 66, 4), 0)  # open to the outside, with a wide mouth
    assert only(scene(B, notch), scene(B)) == "displacement"


def test_regions_without_a_background():
    """Three classes: a road (0) below a wall (1), objects (2) in front of both."""
    wall = (Y < 35, 1)
    car = (disc(45, 60, 14), 2)
    label = scene(wall, car)
    assert only(scene(wall), label, classes=4) == "missed object"
    assert only(scene(wall, (disc(45, 60, 14), 3)), label, classes=4) == "class confusion"
    assert only(scene(wall, car, (disc(60, 20, 8), 3)), label, classes=4) == "false object"
    # A blob of a class that is there, on a region that fills half of the image or more.
    assert only(scene(wall, car, (disc(60, 20, 5), 1)), label, classes=4) == "false object"
    assert only(scene(wall, car, (disc(48, 60, 4), 0)), label, classes=4) == "interior hole"
    moved = scene((Y < 37, 1), (disc(45, 62, 14), 2))
    assert only(moved, label, classes=4) == "displacement"


def test_a_relabelled_object_beside_one_of_its_new_class():
    """They fuse to one predicted component, but the outline is that of the object."""
    one, two = (disc(40, 40, 14), 1), (disc(40, 66, 14), 2)
    renamed = (disc(40, 40, 14), 2)
    assert only(scene(renamed, two), scene(one, two), classes=4) == "class confusion"


def test_a_background_can_be_named():
    """Of a class that nothing around has, a dropped object is confused, unless it is background."""
    label = scene((disc(40, 60, 14), 2), base=1)
    dropped = scene((disc(40, 60, 14), 0), base=1)
    assert only(dropped, label, classes=3) == "class confusion"
    assert only(dropped, label, classes=3, background=0) == "missed object"


@pytest.mark.parametrize("gap", [2, 8])
def test_void_neither_joins_nor_parts(gap):
    """An object cut by void is one; void inside of a bridge or a hole changes nothing else."""
    void = (np.abs(X - 80) < gap, 255)
    assert only(scene(B), scene(B, void)) == {}
    assert only(scene(A), scene(A, B, void)) == "missed object"
    bridge = ((np.abs(Y - 35) < 3) & (X > 30) & (X < 80), 1)
    middle = (np.abs(X - 55) < gap, 255)
    found = only(scene(A, B, bridge), scene(A, B, middle))
    assert found in ("merge", "displacement")  # as far as it is seen
    assert only(scene(A), np.full(Y.shape, 255, np.uint8)) == {}


def test_settings_out_of_range():
    with pytest.raises(InputError, match="coverage: 0 is no fraction above 0 and up to 1"):
        CauseSettings(coverage=0)
    with pytest.raises(InputError, match="reach: -1 must be 0 pixels or more"):
        CauseSettings(reach=-1)
    with pytest.raises(InputError, match="background: 2 is no class; classes are 0 to 1"):
        CauseSettings(background=2).ground(2)
    assert len(CAUSES) == 7
