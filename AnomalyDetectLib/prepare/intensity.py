"""Intensity: divide out the bias field, scale white matter to 1 and T1 grey matter to its usual share of it;
a large lesion shifts none of them.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.volume import BoolArray, FloatArray

SHRINK = 2
ITERATIONS = [20, 15]
MIN_VOXELS = 200
GREY_OF_WHITE = 0.73  # mode of grey over mode of white matter in the T1 training scans
EXPONENTS = (0.4, 2.5)
DEEP_OVER_ALL = (
    1.048  # mode of deep over mode of all white matter in T1 training scans; 1 unit is all white matter
)


def estimate_bias(image: FloatArray, tissue: BoolArray, brain: BoolArray) -> FloatArray:
    """Multiplicative bias field (X,Y,Z), mean 1 over `brain`, by N4 (Tustison 2010) on a coarser lattice.

    tissue: the voxels to trust: leave out fluid and what stands out of its tissue, so that a lesion isn't
    taken for bias.
    """
    source = sitk.GetImageFromArray(np.maximum(image, 1e-3).astype(np.float32))
    mask = sitk.GetImageFromArray(tissue.astype(np.uint8))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    corrector.SetNumberOfControlPoints([4, 4, 4])
    corrector.Execute(sitk.Shrink(source, [SHRINK] * 3), sitk.Shrink(mask, [SHRINK] * 3))
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(source))).astype(np.float32)
    return np.asarray(field / np.exp(np.mean(np.log(field[brain]))), dtype=np.float32)


def mode(values: FloatArray, bandwidth: float = 0.09) -> float:
    """The most frequent value by mean shift from the highest bin of a smoothed histogram.

    bandwidth: standard deviation of the kernel relative to the median; as wide as a tissue's own spread, so
    that the mass of a peak counts and not its height. A minority of other values, however bright or uniform,
    doesn't move it.
    """
    low, high = np.percentile(values, [0.5, 99.5])
    if not high > low:
        return float(low)
    counts, edges = np.histogram(values, bins=256, range=(float(low), float(high)))
    centres = (edges[1:] + edges[:-1]) / 2
    offsets = (centres - centres[len(centres) // 2]) / (bandwidth * float(np.median(values)))
    dense = np.convolve(counts, np.exp(-0.5 * offsets**2), mode="same")
    peak = float(centres[int(np.argmax(dense))])
    for _ in range(20):
        weight = np.exp(-0.5 * ((values - peak) / (bandwidth * peak + 1e-6)) ** 2)
        peak = float((weight * values).sum() / max(float(weight.sum()), 1e-6))
    return peak


def white_matter_scale(image: FloatArray, deep_white: BoolArray) -> float:
    """Scan units of one working unit, from the mode of the deep white matter.

    Raises `PreparationError` when there is too little white matter or it is dark as air.
    """
    count = int(deep_white.sum())
    if count < MIN_VOXELS:
        raise PreparationError(
            f"only {count} voxels of white matter were found; check that the scan shows a brain"
        )
    scale = mode(image[deep_white]) / DEEP_OVER_ALL
    if not scale > 0:
        raise PreparationError(
            f"white matter has intensity {scale:.3g}; signed images can't be scaled, export magnitudes"
        )
    return scale


def contrast_exponent(image: FloatArray, grey: BoolArray, modality: str) -> float:
    """The power that takes T1 grey matter to `GREY_OF_WHITE` and leaves white matter at 1.

    1 for other contrasts than T1. image: working units (X,Y,Z). Scanners and sequences differ in T1 contrast
    more than healthy brains do; a power is monotone, so nothing that stands out is lost, and it can be
    undone. The mode is what counts: a lesion among the grey matter doesn't shift it.
    """
    if modality != "T1" or int(grey.sum()) < MIN_VOXELS:
        return 1.0
    found = mode(image[grey])
    if not 0.05 < found < 0.99:
        return 1.0
    return float(np.clip(np.log(GREY_OF_WHITE) / np.log(found), *EXPONENTS))


def trusted_tissue(image: FloatArray, brain: BoolArray, white: BoolArray, grey: BoolArray) -> BoolArray:
    """Voxels of white and grey matter within 3.5 robust SD of their own tissue: what the bias estimate may
    look at.
    """
    trusted = np.zeros_like(brain)
    for tissue in (white & brain, grey & brain):
        if int(tissue.sum()) < MIN_VOXELS:
            continue
        values = image[tissue]
        centre = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - centre)))
        trusted |= tissue & (np.abs(image - centre) <= 3.5 * spread)
    return trusted


def normalise(
    image: FloatArray, brain: BoolArray, white: BoolArray, grey: BoolArray, reference: BoolArray
) -> tuple[FloatArray, float, FloatArray]:
    """Working-unit image (X,Y,Z), 0 outside the brain; scan units per working unit; the bias field divided
    out.

    white, grey: the scan's own tissue, for the bias. reference: where healthy brains nearly always have white
    matter, for the scale: a lesion can't talk a place in the template into or out of being white matter.
    """
    bias = estimate_bias(image, trusted_tissue(image, brain, white, grey), brain)
    flat = (image / np.maximum(bias, 0.1)).astype(np.float32)
    scale = white_matter_scale(flat, reference & brain)
    return np.asarray(np.where(brain, flat / scale, 0), dtype=np.float32), scale, bias
