"""Healthy heads of any contrast that no scanner made: do the expected false alarms hold there?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation.metrics import bootstrap
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detector, detect, load_detector
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.training import heads
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.volume import Volume

FREE = "free"
CONTRASTS = ("T1", "T2", "FLAIR", "PD", FREE)
EACH = 2  # paintings of a head in a contrast: thin and thick slices
SEED = 91
SLICE_VOXELS = (2.0, 3.0)  # of 2 mm
BIAS = 0.08


def painted_alarms(data: Path, network: HeadNetwork) -> list[dict[str, object]]:
    """A row a contrast: mean number of findings with 95 % bootstrap, with the model that `auto` takes."""
    rows: list[dict[str, object]] = []
    maps = heads.load_label_heads(data, None, held_out=True)

    @cache
    def detector_for(contrast: str) -> Detector:
        return load_detector(zoo.choose("auto", contrast), contrast=contrast)

    for contrast in CONTRASTS:
        counts, models, refused = [], set(), 0
        for volume in painted_heads(maps, contrast):
            try:
                found = detect(volume, network, detector_for)
            except AnomalyDetectError:
                refused += 1
                continue
            counts.append(float(len(found.findings)))
            models.add(found.card.name)
        rows.append(
            {
                "contrast": contrast,
                "model": ", ".join(sorted(models)),
                "heads": len(counts),
                "findings": bootstrap(counts),
                "most": max(counts, default=float("nan")),
                "refused": refused,
            }
        )
    return rows


def painted_heads(maps: Sequence[heads.LabelHead], contrast: str) -> Iterator[Volume]:
    """Label maps in one contrast, the same every time."""
    for number, head in enumerate(maps):
        for turn in range(EACH):
            rng = np.random.default_rng([SEED, CONTRASTS.index(contrast), number, turn])
            image = heads.paint_labels(rng, head, contrast)
            if turn % 2:
                image = fields.thick_slices(image, rng.uniform(*SLICE_VOXELS), 2)
            size = (image.shape[0], image.shape[1], image.shape[2])
            image = image * fields.bias_field(rng, size, BIAS)
            yield Volume(
                image.numpy(),
                head.template_from_index,
                modality=None if contrast == FREE else contrast,
                name=f"label map {number + 1} as {contrast}, {turn + 1}",
            )
