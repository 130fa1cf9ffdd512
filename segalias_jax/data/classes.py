"""Class names and colors of the data sets, as their authors give them."""

from __future__ import annotations

import numpy as np

Classes = tuple[tuple[str, ...], np.ndarray]


def voc_colors(count: int) -> np.ndarray:
    """Makes distinct colors: those of PASCAL VOC, from the bits of the class id.

    Args:
      count: number of classes.

    Returns:
      RGB color of each class, uint8[count, 3].

    Example:
      >>> voc_colors(3).tolist()
      [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    colors = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            value = np.arange(count) >> (3 * bit + channel) & 1
            colors[:, channel] |= (value << (7 - bit)).astype(np.uint8)
    return colors


def _table(**colors: tuple[int, int, int]) -> Classes:
    names = tuple(name.replace("_", " ") for name in colors)
    return names, np.array(list(colors.values()), np.uint8)


def _listed(text: str) -> Classes:
    names = tuple(" ".join(name.split()) for name in text.split(","))
    return names, voc_colors(len(names) + 1)[1:]  # black is for what is ignored


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

VOC = (
    tuple(
        "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
        "motorbike person pottedplant sheep sofa train tvmonitor".split()
    ),
    voc_colors(21),
)

ADE20K = _listed(
    """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk,
    person, earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa,
    shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp,
    bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand,
    sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool
    table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet,
    flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair,
    boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning,
    streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister,
    escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
    canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle,
    lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
    ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass,
    clock, flag
    """
)

COCO_STUFF = _listed(
    """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
    hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
    zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports
    ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine
    glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
    dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book,
    clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch, bridge,
    building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
    clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence,
    floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other,
    fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
    mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other,
    plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad,
    sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw,
    structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other,
    waterdrops, window-blind, window-other, wood
    """
)

# The id of each of the 171 classes: those that the authors of COCO-Stuff annotated, of 1 to 182.
COCO_STUFF_IDS = tuple(
    k for k in range(1, 183) if k not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
)

CELLS = _table(cell=(90, 90, 90), membrane=(230, 159, 0))
CRACKS = _table(pavement=(90, 90, 90), crack=(230, 159, 0))
POLYPS = _table(background=(90, 90, 90), polyp=(230, 159, 0))
RADAR = _table(below_40_dBZ=(90, 90, 90), from_40_dBZ=(230, 159, 0))
VESSELS = _table(background=(90, 90, 90), vessel=(230, 159, 0))

DATASETS = {
    "camvid": CAMVID,
    "cityscapes": CITYSCAPES,
    "voc": VOC,
    "ade20k": ADE20K,
    "coco_stuff": COCO_STUFF,
}
"""Names and colors of classes by the name of their data set."""

VOID_COLORS = {"voc": (224, 224, 192)}
"""Color of ignored pixels where it is not black."""
