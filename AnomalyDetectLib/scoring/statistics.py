"""Healthy statistics: how large a residual is normal, voxel by voxel in template space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.volume import BoolArray, FloatArray, smooth

SHRINK = 2
SMOOTHING_MM = 4.0
MARGIN = 4  # voxels of a file's maps, 16 mm: no aligned brain reaches further
LEAST_COVERAGE = 0.1
SIMULATED_MEAN = 0.5  # what holds of simulated scans holds of real ones by half
BULK = (1.0, 3.0)  # how far a scan may widen the healthy spread
# Of |z|: what a scan's own spread is read from. The higher, the more of a large lesion it sees. With .8 and
# the square root of the widening there were 4.6 false findings beside a glioma on T1, 7.1 in a painted head
# where 1 was promised, with the median and all of it 2.3 and 2.4; 19 and 18 of 21 gliomas were found.
BULK_QUANTILE = 0.5
FORMER_QUANTILE = 0.8  # of files that name none


@dataclass(frozen=True)
class HealthyStatistics:
    """Mean and SD (X,Y,Z) of an evidence map over healthy scans, smoothed, on the working grid; (1,1,1) where
    they are those of the whole brain.

    bulk: median over healthy scans of the robust spread of z within one scan, what a scan's own spread is
    compared with; quantile: of |z|, that it is read from.
    """

    mean: FloatArray
    sd: FloatArray
    bulk: float
    quantile: float = BULK_QUANTILE

    def standardise(self, evidence: FloatArray, brain: BoolArray) -> FloatArray:
        """z = (evidence - mean) / sd (X,Y,Z), 0 outside the brain."""
        return np.where(brain, (evidence - self.mean) / self.sd, 0).astype(np.float32)

    def widening(self, z: FloatArray, brain: BoolArray) -> float:
        """The factor, within `BULK`, by which the whole scan strays more than healthy ones do.

        It compares the robust spread (a quantile of |z|) of the scan's voxels with that of healthy scans.
        """
        return float(np.clip(spread(z, brain, self.quantile) / max(self.bulk, 1e-6), *BULK))

    def in_own_spread(self, evidence: FloatArray, brain: BoolArray) -> HealthyStatistics:
        """These statistics, as wide as the scan strays itself where it strays more than healthy ones do."""
        return self.wider(self.widening(self.standardise(evidence, brain), brain))

    def wider(self, factor: float | FloatArray) -> HealthyStatistics:
        """These statistics with `factor` times the SD, a number or (X,Y,Z)."""
        return replace(self, sd=np.asarray(self.sd * factor, dtype=np.float32))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """bfloat16 tensors at half resolution under `name`, for a file; float16 would lose small SDs.

        Maps on the working grid keep the voxels near the template's brain alone, seven of ten. Those of the
        whole brain are two numbers.
        """
        maps = torch.from_numpy(np.stack([self.mean, self.sd]))
        bulk = {f"{name}.bulk": torch.tensor([self.bulk, self.quantile])}
        if maps[0].numel() == 1:
            return {f"{name}.maps": maps.flatten()} | bulk
        small = functional.avg_pool3d(maps[None], SHRINK)[0]
        near = near_the_brain()
        kept = small[:, near] if small.shape[1:] == near.shape else small
        return {f"{name}.maps": kept.contiguous().bfloat16()} | bulk

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], name: str) -> HealthyStatistics:
        """What `tensors` wrote, enlarged to the working grid. Far from the brain: the mean 0, the SD that of
        the voxel that is known least.
        """
        small = tensors[f"{name}.maps"].float()
        bulk, *quantile = tensors[f"{name}.bulk"].tolist()
        of_the_scan = bulk, quantile[0] if quantile else FORMER_QUANTILE
        if small.ndim == 1:
            mean, sd = small.numpy().reshape(2, 1, 1, 1)
            return cls(mean, sd, *of_the_scan)
        if small.ndim == 2:
            near = near_the_brain()
            kept, small = small, torch.zeros(2, *near.shape)
            small[1] = kept[1].max()
            small[:, near] = kept
        maps = functional.interpolate(
            small[None], scale_factor=SHRINK, mode="trilinear", align_corners=False
        )[0].numpy()
        return cls(maps[0], maps[1], *of_the_scan)


@cache
def near_the_brain() -> Tensor:
    """Where statistics are kept: bool at half of the working grid's resolution, the template's brain and
    `MARGIN` voxels around it.
    """
    brain = torch.from_numpy(load_template().brain).float()[None, None]
    return functional.max_pool3d(
        functional.max_pool3d(brain, SHRINK), 2 * MARGIN + 1, stride=1, padding=MARGIN
    )[0, 0].bool()


def spread(z: FloatArray, brain: BoolArray, quantile: float = BULK_QUANTILE) -> float:
    """Robust SD of a map inside the brain: a quantile of |z| over that of a normal distribution."""
    values = np.abs(z[brain])
    if len(values) == 0:
        return 0.0
    return float(np.quantile(values, quantile)) / NormalDist().inv_cdf((1 + quantile) / 2)


def fit_statistics(
    evidence: list[FloatArray],
    brains: list[BoolArray],
    spacing_mm: float = 2.0,
    real: bool = True,
    flat: bool = False,
) -> HealthyStatistics:
    """Statistics of healthy scans: voxel-wise over scans, both sides pooled, smoothed.

    Voxels are weighted by how many scans have brain there. The SD is drawn halfway to its median inside the
    brain: places where these scans agree don't shout, those where they don't aren't blind. Where few scans
    have brain, at the rim, it is divided by their share: little is known of what is normal there.
    real: scans as a scanner made them; the mean of simulated ones counts half. flat: mean and SD of all
    voxels together instead, as they are.
    """
    if flat:
        inside = np.concatenate([one[brain] for one, brain in zip(evidence, brains, strict=True)])
        whole = np.array([inside.mean(), inside.std()], np.float32).reshape(2, 1, 1, 1)
        return _with_bulk(HealthyStatistics(whole[0], whole[1], bulk=1.0), evidence, brains)
    weight = np.zeros(evidence[0].shape, np.float64)
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for one, brain in zip(evidence, brains, strict=True):
        for values, inside in ((one, brain), (one[::-1], brain[::-1])):
            weight += inside
            first += np.where(inside, values, 0)
            second += np.where(inside, values.astype(np.float64) ** 2, 0)
    sigma = SMOOTHING_MM / 2.355 / spacing_mm
    sigmas = (sigma, sigma, sigma)
    w = smooth(weight.astype(np.float32), sigmas) + 1e-3
    mean = smooth(first.astype(np.float32), sigmas) / w
    variance = np.maximum(smooth(second.astype(np.float32), sigmas) / w - mean**2, 0)
    coverage = np.clip(w / (2 * len(evidence)), 0, 1)
    overall = float(np.sqrt(np.median(variance[coverage > 0.5])))
    drawn = 0.5 * (np.where(w > 0.5, np.sqrt(variance), overall) + overall)
    sd: FloatArray = (drawn / np.maximum(coverage, LEAST_COVERAGE)).astype(np.float32)
    share = 1.0 if real else SIMULATED_MEAN
    return _with_bulk(HealthyStatistics((share * mean).astype(np.float32), sd, bulk=1.0), evidence, brains)


def _with_bulk(
    fitted: HealthyStatistics, evidence: list[FloatArray], brains: list[BoolArray]
) -> HealthyStatistics:
    """With the median spread of the healthy scans that it was fitted to."""
    spreads = [spread(fitted.standardise(e, b), b) for e, b in zip(evidence, brains, strict=True)]
    return replace(fitted, bulk=float(np.median(spreads)))
