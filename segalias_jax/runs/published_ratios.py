"""Published scores that `segalias sweep --published` prints beside ours."""

from __future__ import annotations

SETTING = (
    "U-Net, 200 epochs in batches of 16, Adam with 1e-4 by a cosine to 1e-6, the ratio "
    'of the spectrum falling linearly from 1 ("negative linear"); scores are means over both '
    "classes (where the network predicts one class alone, IoU is half the accuracy), and whether "
    "they are averaged per image or over all pixels is not said"
)
"""What the numbers below are of, and what is not known about them."""

BOTH_CLASSES = {
    "accuracy": "accuracy",
    "F1": "Dice_of_both_classes",
    "precision": "precision_of_both_classes",
    "recall": "recall_of_both_classes",
    "IoU": "IoU_of_both_classes",
}
"""Scores as those tables call them, and how names in `SCORES` begin."""

FINAL_RATIOS: dict[str, dict[float, dict[str, float]]] = {
    "cvc_clinicdb": {
        0.9: dict(accuracy=0.9732, F1=0.8307, precision=0.8207, recall=0.8882, IoU=0.7622),
        0.6: dict(IoU=0.7697),
        0.0: dict(accuracy=0.4622, F1=0.3404, precision=0.4901, recall=0.3886, IoU=0.2422),
    },
    "kvasir_seg": {
        0.9: dict(accuracy=0.9634, F1=0.9053, precision=0.9193, recall=0.9171, IoU=0.8558),
        0.0: dict(accuracy=0.6449, F1=0.5103, precision=0.5579, recall=0.6391, IoU=0.3896),
    },
}
"""By data set and final ratio, the scores that are known; 0.6 has the best IoU on CVC-ClinicDB.

From the tables of the frequency-ratio curriculum for polyps, one for each data set.
"""
