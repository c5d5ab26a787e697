"""Figures of merit for rankings: slices, voxels at a fixed share of false positives, lesions, uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from AnomalyDetectLib.evaluation.metrics import average_precision, bootstrap
from AnomalyDetectLib.evaluation.overlap import HIT_SHARE, lesion_cover, lesion_labels
from AnomalyDetectLib.volume import BoolArray, FloatArray

Interval = tuple[float, float, float]  # statistic, and its 95 % bootstrap interval
NOTHING: Interval = (float("nan"),) * 3
SIZES_ML = ((0.0, 1.0), (1.0, 5.0), (5.0, float("inf")))
LEVELS = np.linspace(0.0, 0.9, 10)  # shares of voxels set aside


@dataclass(frozen=True)
class Ranked:
    """Scores and truths of one patient's slices (N,)."""

    score: NDArray[np.float64]
    truth: NDArray[np.bool_]


def over_patients(ranked: Sequence[Ranked]) -> dict[str, Interval]:
    """AUROC and AP of all slices together, resampling whole patients."""
    ap = _pooled(ranked, _ap)
    return {"slice AUROC": auroc_over_patients(ranked), "slice AP": ap}


def auroc_over_patients(ranked: Sequence[Ranked]) -> Interval:
    """AUROC of all slices or regions together, resampling whole patients; NaN without any."""
    return _pooled(ranked, auroc)


def auroc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve (N,), from Mann and Whitney's U: ties count by half. NaN for one class alone.

    Scikit-learn's checks take far longer than this, and intervals want it a thousand times.
    """
    ill = int(truth.sum())
    well = len(truth) - ill
    if not ill or not well:
        return float("nan")
    return float((rankdata(score)[truth].sum() - ill * (ill + 1) / 2) / (ill * well))


def _ap(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    return average_precision(score.astype(np.float32), truth, np.ones_like(truth))


def _pooled(ranked: Sequence[Ranked], measure: Callable[..., float]) -> Interval:
    def statistic(chosen: NDArray[np.float64]) -> float:
        some = [ranked[int(n)] for n in chosen]
        truth = np.concatenate([one.truth for one in some])
        if truth.all() or not truth.any():
            return float("nan")
        return float(measure(truth, np.concatenate([one.score for one in some])))

    return bootstrap(range(len(ranked)), statistic, rounds=500)


def dice_at(score: FloatArray, truth: BoolArray, brain: BoolArray, threshold: float) -> float:
    """Dice of the voxels above a threshold, NaN without a true voxel."""
    found, true = score[brain] > threshold, truth[brain]
    if not true.any():
        return float("nan")
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def lesion_hits(
    score: FloatArray, truth: BoolArray, threshold: float, voxel_ml: float
) -> list[tuple[float, bool]]:
    """Volume in ml of every connected lesion, and whether a tenth of it is above the threshold."""
    labels = lesion_labels(truth)
    sizes = np.bincount(labels.ravel()) * voxel_ml
    cover = lesion_cover((score > threshold).astype(np.uint8), labels)
    return [(float(sizes[label]), share >= HIT_SHARE) for label, share in cover.items()]


def sensitivity_by_size(hits: Sequence[Sequence[tuple[float, bool]]]) -> dict[str, Interval]:
    """Share of lesions hit in each band of volume, over patients."""
    figures = {}
    for low, high in SIZES_ML:
        shares = [[hit for ml, hit in one if low <= ml < high] for one in hits]
        name = f"{low:g}-{high:g} ml" if np.isfinite(high) else f"over {low:g} ml"
        figures[f"sensitivity, {name}"] = bootstrap(
            [float(np.mean(one)) if one else float("nan") for one in shares]
        )
    return figures


def sparsification(error: FloatArray, uncertainty: FloatArray) -> float:
    """Area under the mean error of the voxels (N,) that stay when the most uncertain are set aside, over that
    of setting them aside at random (Ilg et al., ECCV 2018): below 1 the uncertainty knows where the errors
    are.
    """
    order = np.argsort(uncertainty, kind="stable")
    kept = np.cumsum(error[order]) / np.arange(1, len(error) + 1)
    at = [kept[max(0, round(len(error) * (1 - share)) - 1)] for share in LEVELS]
    return float(np.mean(at) / max(float(error.mean()), 1e-12))


def leak(features: Sequence[NDArray[np.float64]], ranked: Sequence[Ranked]) -> dict[str, Interval]:
    """What a classifier reaches that sees no image, only features such as a slice's height and brain area
    (N,F).

    Cross-validated by patient: what a model has above this, it has from the picture.
    """
    truth = np.concatenate([one.truth for one in ranked])
    patients = np.concatenate([np.full(len(one.truth), n) for n, one in enumerate(ranked)])
    folds = min(5, len(ranked))
    if folds < 2 or truth.all() or not truth.any():
        return over_patients([])
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    probability = cross_val_predict(
        classifier,
        np.concatenate(features),
        truth,
        groups=patients,
        cv=GroupKFold(folds),
        method="predict_proba",
    )[:, 1]
    return over_patients([Ranked(probability[patients == n], one.truth) for n, one in enumerate(ranked)])
