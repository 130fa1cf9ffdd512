"""Records losses, assignment and results of transformers' Mask2Former, of drawn outputs.

    python tests/golden/record_mask2former_loss.py

Run where transformers is installed; JAX is not needed. Outputs follow from their names. The points
that PyTorch draws are recorded in the order of the truths; `size` of results is 384x384 there.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from drawn import draw

FILE = Path(__file__).with_name("j_mask2former_loss.npz")
QUERIES, CLASSES, SIDES, SIZE, POINTS = 6, 3, (12, 16), (48, 64), 32
LABELS = ((2, 0, 1), (0, 1, 2, 1, 0, 2, 1), (2,))  # of three images; one has more than queries
RESULTS = (2, 8, CLASSES, 12, 12)  # images, queries, classes, sides of the masks


def outputs(name, images, queries, classes, height, width):
    """Logits of classes, the last one of none, and of masks."""
    of_classes = 2 * draw(f"{name}.classes", (images, queries, classes + 1))
    return of_classes, 3 * draw(f"{name}.masks", (images * queries, height, width)).reshape(
        images, queries, height, width
    )


def layers():
    """Outputs of a last and an earlier layer."""
    return [outputs(f"layer{k}", len(LABELS), QUERIES, CLASSES, *SIDES) for k in range(2)]


def truth(image):
    """Masks of an image's truths."""
    found = draw(f"truth{image}", (len(LABELS[image]), SIZE[0] // 8, SIZE[1] // 8)) > 0.3
    return np.repeat(np.repeat(found, 8, 1), 8, 2)


def results():
    """Outputs that results are made of: disks that overlap, of queries most of which are sure."""
    of_classes, masks = outputs("results", *RESULTS)
    of_classes[:, np.arange(6), np.arange(6) % CLASSES] += 6
    centers = 6 + 3 * draw("results.centers", (*RESULTS[:2], 2))[..., None, None]
    squares = np.square(np.indices(RESULTS[3:]) - centers).sum(2)
    return of_classes, (0.2 * masks + 3 - squares / 3).astype(np.float32)


def record_losses():
    """Losses and gradients of both layers, and what was drawn for them."""
    import torch
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    config = Mask2FormerConfig(num_labels=CLASSES, train_num_points=POINTS)
    loss = Mask2FormerLoss(config, {})
    drawn, matched = [], []
    rand, matcher = torch.rand, loss.matcher.forward

    def noting(*shape, **options):
        drawn.append(rand(*shape, **options))
        return drawn[-1]

    def noting_matches(*arguments):
        matched.append(matcher(*arguments))
        return matched[-1]

    torch.rand, loss.matcher.forward = noting, noting_matches
    torch.manual_seed(0)
    given = [[torch.tensor(x, requires_grad=True) for x in layer] for layer in layers()]
    labels = [torch.tensor(labels) for labels in LABELS]
    masks = [torch.tensor(truth(k), dtype=torch.float32) for k in range(len(LABELS))]
    names = ("class_queries_logits", "masks_queries_logits")
    other = [dict(zip(names, given[1], strict=True))]
    found = loss(given[0][1], given[0][0], masks, labels, other)
    torch.rand = rand
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    total = sum(w * found[k + end] for k, w in weights.items() for end in ("", "_0"))
    total.backward()
    recorded = {k: w * found[k].detach().numpy() for k, w in weights.items()}
    recorded["total"] = total.detach().numpy()
    most = max(map(len, LABELS))
    per_layer = len(LABELS) + 2
    for layer, (pairs, (of_classes, of_masks)) in enumerate(zip(matched, given, strict=True)):
        of_layer = drawn[layer * per_layer : (layer + 1) * per_layer]
        match = np.full((len(LABELS), most), -1)
        candidates = np.full((len(LABELS), most, 3 * POINTS, 2), 0.5, np.float32)
        rest = np.full((len(LABELS), most, POINTS // 4, 2), 0.5, np.float32)
        row = 0
        for image, (queries, truths) in enumerate(pairs):
            for query, which in zip(queries.tolist(), truths.tolist(), strict=True):
                match[image, which] = query
                candidates[image, which] = of_layer[-2][row]
                rest[image, which] = of_layer[-1][row]
                row += 1
        points = np.stack([x[0].numpy() for x in of_layer[: len(LABELS)]])
        recorded |= {
            f"match{layer}": match.astype(np.int8),
            f"points{layer}": points,
            f"candidates{layer}": candidates,
            f"rest{layer}": rest,
            f"g_classes{layer}": of_classes.grad.numpy(),
            f"g_masks{layer}": of_masks.grad.numpy(),
        }
    return recorded


def record_results():
    """Classes of pixels, instances and segments; of pixels some rows and columns."""
    import torch
    from transformers.models.mask2former.image_processing_mask2former import (
        Mask2FormerImageProcessor,
    )

    processor = Mask2FormerImageProcessor()
    of_classes, masks = map(torch.tensor, results())
    given = SimpleNamespace(class_queries_logits=of_classes, masks_queries_logits=masks)
    keep = np.s_[..., ::12, ::12]
    semantic = processor.post_process_semantic_segmentation(given, return_segmentation_scores=True)
    recorded = {"semantic": np.stack([one["segmentation_scores"][keep] for one in semantic])}
    instances = processor.post_process_instance_segmentation(
        given, threshold=0.0, return_binary_maps=True
    )
    panoptic = processor.post_process_panoptic_segmentation(given, label_ids_to_fuse=set())
    for image in range(RESULTS[0]):
        for kind, found in (("instance", instances[image]), ("panoptic", panoptic[image])):
            segments = found["segments_info"]
            pixels = found["segmentation"].numpy()[..., ::6, ::6].astype(np.int8)
            recorded |= {
                f"{kind}_pixels{image}": pixels,
                f"{kind}_scores{image}": np.array([one["score"] for one in segments]),
                f"{kind}_classes{image}": np.array([one["label_id"] + 1 for one in segments]),
            }
    return recorded


if __name__ == "__main__":
    np.savez_compressed(FILE, **record_losses(), **record_results())
