"""Evidence: the maps on the working grid that speak for an anomaly, before they are compared with healthy
scans.
"""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import BoolArray, FloatArray, mirror_difference, smooth, smooth_inside

RESIDUAL, ANOMALY, SCORE = "residual", "anomaly", "score"
TISSUE_FINE, TISSUE, TISSUE_WIDE, MIRROR = "tissue-fine", "tissue", "tissue-wide", "mirror"
# Smoothing in voxels of 2 mm: lesions are larger than the noise; the network has smoothed its map already,
# and a score of the model's own is what it is.
SIGMAS = {
    RESIDUAL: 1.5,
    ANOMALY: 1.0,
    TISSUE_FINE: 0.6,
    TISSUE: 1.0,
    TISSUE_WIDE: 2.0,
    MIRROR: 2.0,
    SCORE: 0.0,
}
# What the network calls a lesion helps large ones and costs small ones where it is less sure: on FLAIR at .4,
# .6 and .8 voxel AP of clear simulated lesions was .66, .69 and .70, that of multiple sclerosis .47, .45 and
# .43; on T1 at .3, .5, .8 and 1.1 that of clear ones .69, .68, .67 and .67, of faint ones .41 throughout.
ANOMALY_WEIGHT, ANOMALY_WEIGHT_WITH_TISSUE = 0.5, 0.6
# What is summed for large lesions. The other side of the brain may only confirm what the tissue says: healthy
# brain opposite a bright lesion looks dark. AP of clear simulated lesions on FLAIR .65 without
# it, .69 with it; on T1 .57 both, but 2.1 false findings beside a glioma instead of 3.9. With the residual at
# 1.5 instead of .5 that of faint ones on T1 is .41 instead of .39, and beside a lesion there is one other
# finding instead of two.
WIDE = {TISSUE: 1.0, TISSUE_WIDE: 1.0, MIRROR: 1.5, RESIDUAL: 1.5}
WIDE_SD, WIDE_SD_RESTORED = 2.5, 2.7  # of the sum of maps of SD 1 that go together
SMALLEST = 1e-4  # of a probability, before its log-odds


def residual(prepared: Prepared, rebuild: Rebuild) -> FloatArray:
    """Scan minus healthy version (X,Y,Z), working units, 0 outside the brain; 0 where the model rebuilds
    nothing.
    """
    image = prepared.tensor[0, 0].numpy()
    if rebuild.healthy is None:
        return np.zeros_like(image)
    return np.where(prepared.brain, image - rebuild.healthy, 0).astype(np.float32)


def evidence(prepared: Prepared, rebuild: Rebuild) -> dict[str, FloatArray]:
    """Maps (X,Y,Z) by name, 0 outside the brain.

    residual: scan minus healthy version, signed. anomaly: log-odds of the predicted probability, without a
    sign, where the model predicts one. tissue-fine, tissue: scan minus the healthy anatomy in the scan's own
    colours over its SD, signed; the finer one is for small lesions. tissue-wide: the same difference in units
    of the whole brain's SD, smoothed more, for large ones. mirror: scan minus its other side, in the same
    units. score: the model's own, signed. All but this are
    smoothed inside the brain.
    """
    maps = {}
    if rebuild.healthy is not None:
        maps[RESIDUAL] = smooth_inside(residual(prepared, rebuild), prepared.brain, SIGMAS[RESIDUAL])
    if rebuild.anomaly is not None:
        odds = np.clip(rebuild.anomaly, SMALLEST, 1 - SMALLEST)
        maps[ANOMALY] = smooth_inside(np.log(odds / (1 - odds)), prepared.brain, SIGMAS[ANOMALY])
    if rebuild.expected is not None and rebuild.expected_sd is not None:
        image, brain = prepared.tensor[0, 0].numpy(), prepared.brain
        difference = np.where(brain, image - rebuild.expected, 0).astype(np.float32)
        z = difference / rebuild.expected_sd
        maps[TISSUE_FINE] = smooth_inside(z, brain, SIGMAS[TISSUE_FINE])
        maps[TISSUE] = smooth_inside(z, brain, SIGMAS[TISSUE])
        whole = float(image[brain].std())
        maps[TISSUE_WIDE] = smooth_inside(difference / whole, brain, SIGMAS[TISSUE_WIDE])
        maps[MIRROR] = smooth_inside(mirror_difference(image, brain) / whole, brain, SIGMAS[MIRROR])
    if rebuild.score is not None:
        maps[SCORE] = np.where(prepared.brain, rebuild.score, 0).astype(np.float32)
    return maps


def fuse(standardised: dict[str, FloatArray]) -> FloatArray:
    """One signed map (X,Y,Z) from standardised evidence.

    The model's own score alone where there is one.
    The larger of fine and wide tissue evidence where there is any, else the residual; the wide one leans on
    the residual, too, where it is given, and on the difference between the sides where this has its sign. The
    anomaly's z counts where it is above the healthy mean, and adds to it with its sign.
    """
    factors = fusion_factors(standardised)
    parts = [factor * standardised[name] for name, factor in factors.items()]
    assert parts, "a rebuild has a healthy version, an anomaly map, painted anatomy or a score"
    return np.asarray(sum(parts[1:], start=parts[0]), dtype=np.float32)


def fusion_factors(standardised: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """By what each standardised map enters the fused one, (X,Y,Z) by name; those that never do are left out.

    The fused map is the sum of factor times map, so that its parts can be told.
    """
    if SCORE in standardised:
        return {SCORE: np.ones_like(standardised[SCORE])}
    factors, signed, weight = {}, standardised.get(RESIDUAL), ANOMALY_WEIGHT
    if TISSUE in standardised:
        fine = standardised[TISSUE_FINE]
        sd = WIDE_SD if signed is None else WIDE_SD_RESTORED
        shares = {
            name: np.full_like(fine, share / sd) for name, share in WIDE.items() if name in standardised
        }
        if MIRROR in shares:
            tissue = standardised[TISSUE] + standardised[TISSUE_WIDE]
            shares[MIRROR][tissue * standardised[MIRROR] < 0] = 0
        wide = np.sum([share * standardised[name] for name, share in shares.items()], axis=0)
        finer = np.abs(fine) >= np.abs(wide)
        factors[TISSUE_FINE] = finer.astype(np.float32)
        factors |= {name: np.where(finer, 0, share).astype(np.float32) for name, share in shares.items()}
        weight = ANOMALY_WEIGHT_WITH_TISSUE
        signed = np.where(finer, fine, wide)
    elif signed is not None:
        factors[RESIDUAL] = np.ones_like(signed)
    if ANOMALY in standardised:
        side = 1.0 if signed is None else np.where(signed < 0, -weight, weight)
        factors[ANOMALY] = np.where(standardised[ANOMALY] > 0, side, 0).astype(np.float32)
    return factors


def smooth_inside_transposed(array: FloatArray, brain: BoolArray, sigma: float) -> FloatArray:
    """The transpose of `smooth_inside` (X,Y,Z): the sum of `array` times a smoothed map is that of this one
    times the map as it was.
    """
    sigmas = (sigma, sigma, sigma)
    share = np.maximum(smooth(brain.astype(np.float32), sigmas), 0.05)
    return np.where(brain, smooth(np.where(brain, array / share, 0).astype(np.float32), sigmas), 0).astype(
        np.float32
    )
