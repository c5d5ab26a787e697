"""Figures of merit on one scan, and bootstrap intervals over scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from AnomalyDetectLib.volume import BoolArray, FloatArray

FloatColumn = NDArray[np.float64]

# Statistics that numpy takes of all draws at once, a hundred times faster.
ALONG: dict[Callable[[FloatColumn], float], Callable[[FloatColumn], FloatColumn]] = {
    np.nanmean: lambda draws: np.asarray(draws.mean(1)),
    np.median: lambda draws: np.asarray(np.median(draws, 1)),
}


def average_precision(score: FloatArray, truth: BoolArray, brain: BoolArray) -> float:
    """Area under precision over recall of the brain's voxels, NaN without a true voxel.

    Step-wise sum over distinct scores, as scikit-learn defines it; ties count together.
    """
    return ap_and_best_dice(score, truth, brain)[0]


def ap_and_best_dice(score: FloatArray, truth: BoolArray, brain: BoolArray) -> tuple[float, float]:
    """`average_precision`, and Dice at the best threshold for this very scan (an oracle figure); both sort
    the same voxels. NaN without a true voxel.
    """
    values, positive = score[brain], truth[brain]
    total = int(positive.sum())
    if total == 0:
        return float("nan"), float("nan")
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], np.cumsum(positive[order])
    last = np.r_[np.flatnonzero(np.diff(values)), len(values) - 1]
    precision = hits[last] / (last + 1)
    recall = hits[last] / total
    dice = 2 * hits[last] / (last + 1 + total)
    return float((np.diff(np.r_[0.0, recall]) * precision).sum()), float(dice.max())


def inside_similarity(image: FloatArray, reference: FloatArray, lesion: BoolArray) -> tuple[float, float]:
    """SSIM and PSNR (dB) of `image` to `reference` inside `lesion`; the data range is the reference's in the
    box.
    """
    box = tuple(slice(max(0, int(a.min()) - 4), int(a.max()) + 5) for a in np.nonzero(lesion))
    one, two, inside = image[box], reference[box], lesion[box]
    data_range = float(np.ptp(two)) or 1.0
    _, similarity = structural_similarity(one, two, data_range=data_range, full=True, win_size=5)
    error = float(((one - two)[inside] ** 2).mean())
    return float(similarity[inside].mean()), float(10 * np.log10(data_range**2 / max(error, 1e-12)))


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[FloatColumn], float] = np.nanmean,
    rounds: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Statistic of the values and its 95 % percentile interval, resampling whole scans.

    NaNs are left out, and draws in which the statistic can't be had.
    """
    column = np.asarray(values, dtype=np.float64)
    column = column[np.isfinite(column)]
    if len(column) == 0:
        return (float("nan"),) * 3
    rng = np.random.default_rng(seed)
    chosen = column[rng.integers(0, len(column), (rounds, len(column)))]
    draws = np.apply_along_axis(statistic, 1, chosen) if statistic not in ALONG else ALONG[statistic](chosen)
    known = draws[np.isfinite(draws)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (float("nan"),) * 2
    return float(statistic(column)), float(low), float(high)
