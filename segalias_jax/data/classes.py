"""Class names and colors of the data sets, as their authors give them."""

from __future__ import annotations

import numpy as np

Classes = tuple[tuple[str, ...], np.ndarray]


def _table(**colors: tuple[int, int, int]) -> Classes:
    names = tuple(name.replace("_", " ") for name in colors)
    return names, np.array(list(colors.values()), np.uint8)


CAMVID = _table(
    sky=(128, 128, 128),
    building=(128, 0, 0),
    pole=(192, 192, 128),
    road=(128, 64, 128),
    pavement=(60, 40, 222),
    tree=(128, 128, 0),
    signsymbol=(192, 128, 128),
    fence=(64, 64, 128),
    car=(64, 0, 128),
    pedestrian=(64, 64, 0),
    bicyclist=(0, 128, 192),
)

CITYSCAPES = _table(
    road=(128, 64, 128),
    sidewalk=(244, 35, 232),
    building=(70, 70, 70),
    wall=(102, 102, 156),
    fence=(190, 153, 153),
    pole=(153, 153, 153),
    traffic_light=(250, 170, 30),
    traffic_sign=(220, 220, 0),
    vegetation=(107, 142, 35),
    terrain=(152, 251, 152),
    sky=(70, 130, 180),
    person=(220, 20, 60),
    rider=(255, 0, 0),
    car=(0, 0, 142),
    truck=(0, 0, 70),
    bus=(0, 60, 100),
    train=(0, 80, 100),
    motorcycle=(0, 0, 230),
    bicycle=(119, 11, 32),
)

# The stored id (labelIds files) of each of the 19 classes; all other ids up to 33 are ignored.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

# The colors of Okabe and Ito, which stay apart for color-blind eyes; gray stands for black.
SYNTHETIC = _table(
    background=(90, 90, 90),
    disc=(230, 159, 0),
    box=(86, 180, 233),
    star=(0, 158, 115),
    pole=(240, 228, 66),
    fine_stripes=(0, 114, 178),
    wide_stripes=(213, 94, 0),
    checker=(204, 121, 167),
)
