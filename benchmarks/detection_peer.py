"""PyTorch's side of `detection.py --time`: one call for each name that is read, and its time.

It runs in an environment of its own, which needs no JAX: torch and torchvision. Names come on
standard input, a line each; answers are JSON, first what there is. The detector is torchvision's
Mask R-CNN on ResNet-18 in its modules, one by one; its operators RoIAlign and NMS are torchvision's
compiled ones where the wheel has them, else its Python version of RoIAlign (by torch.compile), and
a greedy loop.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torchvision.extension import _has_ops
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

Call = Callable[[], Any]


def greedy(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices of the boxes left by greedy suppression, best first."""
    order = scores.argsort(descending=True)
    boxes = boxes[order]
    iou = torchvision.ops.box_iou(boxes, boxes) > threshold
    left = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if left[i]:
            left[i + 1 :] &= ~iou[i, i + 1 :]
    return order[left]


def gradient(modules: Any, inputs: tuple[torch.Tensor, ...], *, into: bool = True) -> Call:
    """A forward and a backward pass of modules, to their parameters and `into` their inputs."""

    def call() -> None:
        modules.zero_grad(set_to_none=True)
        given = [x.detach().requires_grad_(into) for x in inputs]
        squares(modules(*given)).backward()

    return call


def squares(outputs: Any) -> torch.Tensor:
    """The sum of squares of all numbers of a nest of arrays."""
    if isinstance(outputs, torch.Tensor):
        return outputs.square().sum()
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    return sum(squares(one) for one in parts)


class BoxPart(torch.nn.Module):
    """Box head and predictor."""

    def __init__(self, classes: int):
        super().__init__()
        self.head, self.predictor = TwoMLPHead(256 * 49, 1024), FastRCNNPredictor(1024, classes)

    def forward(self, x: torch.Tensor) -> Any:
        """Logits and deltas of pooled boxes."""
        return self.predictor(self.head(x))


class Pyramid(torch.nn.Module):
    """Levels for the RPN's head, which takes a list."""

    def __init__(self):
        super().__init__()
        self.head = RPNHead(256, 3)

    def forward(self, *levels: torch.Tensor) -> Any:
        """Logits and deltas of all anchors."""
        return self.head(list(levels))


def roi_align(features: torch.Tensor, boxes: torch.Tensor, cells: int) -> torch.Tensor:
    """RoIAlign of boxes on a map of stride 4."""
    if _has_ops():
        return torchvision.ops.roi_align(features, [boxes], cells, 0.25, 2)
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    python = sys.modules["torchvision.ops.roi_align"]._roi_align  # type: ignore[attr-defined]
    return python(features, rois, 0.25, cells, cells, 2, False)


def whole_step(backbone: torch.nn.Module, image: torch.Tensor, classes: int) -> Call:
    """A step of the whole detector on one image with eight objects, to the gradients."""
    height, width = image.shape[2:]
    sides = {"min_size": min(height, width), "max_size": max(height, width)}
    model = MaskRCNN(backbone, classes, **sides).train()
    low = torch.rand(8, 2) * torch.tensor([width - 100.0, height - 100.0])
    boxes = torch.cat([low, low + 30 + 70 * torch.rand(8, 2)], 1)
    masks = torch.zeros(8, height, width, dtype=torch.uint8)
    for mask, box in zip(masks, boxes.int().tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = 1
    target = {"boxes": boxes, "labels": torch.ones(8, dtype=torch.int64), "masks": masks}

    def call() -> None:
        model.zero_grad(set_to_none=True)
        sum(model([image[0]], [dict(target)]).values()).backward()

    return call


def calls(height: int, width: int, classes: int) -> dict[str, Call]:
    """What can be timed, by name; names are those of `detection.py`."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    image = torch.rand(1, 3, height, width)
    levels = [level.detach() for level in backbone(image).values()]
    boxes, masks = torch.rand(512, 256, 7, 7), torch.rand(128, 256, 14, 14)
    mask_part = torch.nn.Sequential(
        MaskRCNNHeads(256, (256,) * 4, 1), MaskRCNNPredictor(256, 256, classes)
    )
    found = {
        "whole step without the optimizer": whole_step(backbone, image, classes),
        "encoder and pyramid": gradient(backbone, (image,), into=False),
        "RPN": gradient(Pyramid(), tuple(levels)),
        "box head of 512 boxes": gradient(BoxPart(classes), (boxes,)),
        "mask head of 128 boxes": gradient(mask_part, (masks,)),
    }
    low = torch.rand(2000, 2) * torch.tensor([500.0, 300.0])
    drawn = torch.cat([low, low + 8 + 92 * torch.rand(2000, 2)], 1)
    features = torch.randn(1, 256, 104, 152)
    for cells, count in ((7, 512), (14, 128)):
        name = f"RoIAlign, {count} boxes of {cells}x{cells} cells"

        def forward(cells: int = cells, count: int = count) -> torch.Tensor:
            with torch.inference_mode():
                return roi_align(features, drawn[:count], cells)

        def both(cells: int = cells, count: int = count) -> None:
            x = features.detach().requires_grad_()
            squares(roi_align(x, drawn[:count], cells)).backward()

        found |= {f"{name}, forward": forward, f"{name}, and gradient": both}
    scores = torch.rand(2000)
    nms = torchvision.ops.nms if _has_ops() else greedy
    for count in (1000, 2000):
        found[f"NMS of {count} boxes"] = lambda n=count: nms(drawn[:n], scores[:n], 0.7)
    return found


def main() -> None:
    """Answers until the input ends."""
    height, width, classes, cores = map(int, sys.argv[1:])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)
    known = calls(height, width, classes)
    about = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    about["operators"] = "compiled" if _has_ops() else "Python"
    print(json.dumps(about | {"names": list(known)}), flush=True)
    for line in sys.stdin:
        call, used = known[line.rstrip("\n")], time.process_time()
        call()
        print(json.dumps(1e3 * (time.process_time() - used)), flush=True)


if __name__ == "__main__":
    main()
