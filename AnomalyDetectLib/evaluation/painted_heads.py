"""Healthy heads of any contrast that no scanner made: do the expected false alarms hold there?"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation.metrics import bootstrap
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detector, detect, load_detector
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.training.painted_heads import CONTRASTS, held_out_heads


def painted_alarms(data: Path, network: HeadNetwork) -> list[dict[str, object]]:
    """A row a contrast: mean number of findings with 95 % bootstrap, with the model that `auto` takes."""
    rows: list[dict[str, object]] = []

    @cache
    def detector_for(contrast: str) -> Detector:
        return load_detector(zoo.choose("auto", contrast), contrast=contrast)

    for contrast in CONTRASTS:
        counts, models, refused = [], set(), 0
        for head in held_out_heads(data, contrast):
            try:
                found = detect(head.read(), network, detector_for)
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
