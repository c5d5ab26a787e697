"""What findings make of known lesions, drawn or simulated: one row a lesion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.metrics import inside_similarity
from AnomalyDetectLib.evaluation.overlap import HIT_SHARE, lesion_cover, lesion_labels
from AnomalyDetectLib.evaluation.pathology import Patient
from AnomalyDetectLib.evaluation.simulated_lesions import SimulatedCase
from AnomalyDetectLib.volume import FloatArray, Volume

UNKNOWN = float("nan")


@dataclass(frozen=True)
class LesionCase:
    """A scan whose lesions are known. lesions: int32 labels (i,j,k).

    sign: 1 where lesions are bright, -1 where dark, 0 where there are both. sizes: voxels have a known
    volume. clean: the scan without its lesions; None where they are real. contrasts: of simulated lesions by
    label, signed, grey-white differences.
    """

    name: str
    volume: Volume
    lesions: NDArray[np.int32]
    sign: int
    sizes: bool = True
    clean: Volume | None = None
    contrasts: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def drawn(cls, patient: Patient) -> LesionCase:
        """A patient's scan with its drawn lesions."""
        volume, truth = patient.read()
        return cls(patient.name, volume, lesion_labels(truth), patient.sign, patient.sizes)

    @classmethod
    def simulated(cls, case: SimulatedCase) -> LesionCase:
        """A healthy scan with the lesions put into it."""
        contrasts = {lesion.label: lesion.contrast for lesion in case.lesions}
        return cls(case.scan.name, case.scan, case.truth, 0, clean=case.clean, contrasts=contrasts)


@dataclass(frozen=True)
class LesionRow:
    """One lesion under one map. volume_ml: NaN where voxels have no known volume. contrast: signed,
    grey-white differences, NaN of a real lesion. hit: a finding covers enough of it.

    ssim, psnr: SSIM and PSNR (dB) to the scan without lesions inside it, of the scan (before) and of the
    healthy version (after); NaN where one of them isn't known.
    """

    volume_ml: float
    contrast: float
    hit: bool
    ssim_before: float = UNKNOWN
    ssim_after: float = UNKNOWN
    psnr_before: float = UNKNOWN
    psnr_after: float = UNKNOWN


def lesion_rows(
    case: LesionCase, labelmap: NDArray[np.integer], healthy: FloatArray | None = None
) -> tuple[LesionRow, ...]:
    """A row for each lesion of the case. labelmap: findings (i,j,k). healthy: healthy version, scan units."""
    sizes = np.bincount(case.lesions.ravel()) * case.volume.grid.voxel_mm3 / 1000
    rows = []
    for label, share in lesion_cover(labelmap, case.lesions).items():
        volume_ml = float(sizes[label]) if case.sizes else UNKNOWN
        similar = (UNKNOWN,) * 4
        if case.clean is not None and healthy is not None:
            inside = case.lesions == label
            before = inside_similarity(case.volume.array, case.clean.array, inside)
            after = inside_similarity(healthy, case.clean.array, inside)
            similar = (before[0], after[0], before[1], after[1])
        rows.append(LesionRow(volume_ml, case.contrasts.get(label, UNKNOWN), share >= HIT_SHARE, *similar))
    return tuple(rows)
