"""Feature-space scores: how far an embedding lies from healthy ones; and the hybrid of it with a residual
score.

Euclidean, cosine and Mahalanobis distance (Lee et al., NeurIPS 2018) and kernel density (Rosenblatt 1956).
The hybrid's weight comes from healthy scans alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float64]  # (N, features)
Scores = NDArray[np.floating[Any]]  # (N,), larger is more unusual

KERNEL_FEATURES = 10  # principal axes that the kernel density sees: it means nothing in many dimensions


def euclidean(healthy: Embeddings) -> Callable[[Embeddings], Scores]:
    """Distance to the mean of the healthy embeddings."""
    centre = healthy.mean(0)
    return lambda found: np.asarray(np.linalg.norm(found - centre, axis=1))


def cosine(healthy: Embeddings) -> Callable[[Embeddings], Scores]:
    """1 - cosine of the angle to the mean of the healthy embeddings, 0-2."""
    centre = healthy.mean(0) / max(float(np.linalg.norm(healthy.mean(0))), 1e-12)
    return lambda found: 1 - found @ centre / np.maximum(np.linalg.norm(found, axis=1), 1e-12)


def mahalanobis(healthy: Embeddings) -> Callable[[Embeddings], Scores]:
    """Mahalanobis distance with Ledoit and Wolf's covariance (2004)."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(healthy)
    return lambda found: np.sqrt(np.asarray(fitted.mahalanobis(found)))


def kernel_density(healthy: Embeddings) -> Callable[[Embeddings], Scores]:
    """Minus the log of a Gaussian kernel density on the principal axes, bandwidth after Scott (1992)."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KernelDensity

    axes = PCA(min(KERNEL_FEATURES, *healthy.shape), whiten=True).fit(healthy)
    density = KernelDensity(bandwidth="scott").fit(axes.transform(healthy))
    return lambda found: -np.asarray(density.score_samples(axes.transform(found)))


FEATURE_SCORES = {
    "Euclid": euclidean, "cosine": cosine, "Mahalanobis": mahalanobis, "KDE": kernel_density,
}  # fmt: skip


@dataclass(frozen=True)
class Hybrid:
    """A residual score and a feature score in one, both in units of what healthy scans reach.

    residual, features: (median, unit) of each score over healthy scans or regions.
    """

    residual: tuple[float, float]
    features: tuple[float, float]

    @classmethod
    def fit(cls, residual: Scores, features: Scores, false_alarms: float = 0.05) -> Hybrid:
        """Fit on healthy scores (N,) alone: one unit is how far beyond the median the given share of them
        lies, so that both scores contribute the same false alarms.
        """

        def scale(scores: Scores) -> tuple[float, float]:
            middle, high = np.quantile(scores, [0.5, 1 - false_alarms])
            return float(middle), max(float(high - middle), 1e-12)

        return cls(scale(residual), scale(features))

    def parts(self, residual: Scores, features: Scores) -> tuple[Scores, Scores]:
        """Both in healthy units (N,): 0 is the healthy median, 1 the fitted false-alarm level."""
        both = ((residual, self.residual), (features, self.features))
        one, two = ((np.asarray(scores) - middle) / unit for scores, (middle, unit) in both)
        return one, two

    def score(self, residual: Scores, features: Scores) -> Scores:
        """The mean of both in healthy units (N,)."""
        one, two = self.parts(residual, features)
        return np.asarray((one + two) / 2)
