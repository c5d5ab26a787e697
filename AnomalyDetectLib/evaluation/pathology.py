"""Development scans with real lesions: where they are, and what is drawn on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from AnomalyDetectLib.io.read import read_mask, read_volume
from AnomalyDetectLib.training.slice_data import glioma_patients
from AnomalyDetectLib.volume import BoolArray, Volume

GLIOMA, MULTIPLE_SCLEROSIS, GLIOMA_T1 = "glioma, FLAIR", "MS, FLAIR", "glioma, T1"


@dataclass(frozen=True)
class Patient:
    """A scan with a drawn lesion. sign: 1 where lesions of this contrast are mostly bright, -1 where dark.

    sizes: whether its voxels have a known volume.
    """

    name: str
    scan: Path
    mask: Path
    contrast: str
    sign: int
    sizes: bool

    def read(self) -> tuple[Volume, BoolArray]:
        """The scan and its lesion mask (i,j,k)."""
        volume = read_volume(self.scan, self.contrast)
        return volume, read_mask(self.mask, volume.grid)


def patients(data: Path) -> dict[str, list[Patient]]:
    """The development sets by name: glioma on FLAIR and on T1, of the patients that no model is trained on;
    multiple sclerosis on FLAIR (first rater).
    """

    def of(folders: list[Path], scan: str, mask: str, contrast: str, sign: int, sizes: bool) -> list[Patient]:
        return [
            Patient(one.name, one / scan, one / mask, contrast, sign, sizes)
            for one in folders
            if (one / scan).exists()
        ]

    held_out = glioma_patients(data, "val")
    sclerosis = sorted((data / "ms_isbi_dev").glob("*/"))
    return {
        GLIOMA: of(held_out, "flair.nii.gz", "mask.nii.gz", "FLAIR", 1, sizes=False),
        MULTIPLE_SCLEROSIS: of(sclerosis, "flair.nii.gz", "mask_rater1.nii.gz", "FLAIR", 1, sizes=True),
        GLIOMA_T1: of(held_out, "t1.nii.gz", "mask.nii.gz", "T1", -1, sizes=False),
    }
