"""Development scans with real lesions: where they are, and what is drawn on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from AnomalyDetectLib.io.read import read_mask, read_volume
from AnomalyDetectLib.volume import BoolArray, Volume

MULTIPLE_SCLEROSIS = "MS, FLAIR"


@dataclass(frozen=True)
class Patient:
    """A scan with a drawn lesion. sign: 1 where lesions of this contrast are mostly bright, -1 where dark."""

    name: str
    scan: Path
    mask: Path
    contrast: str
    sign: int

    def read(self) -> tuple[Volume, BoolArray]:
        """The scan and its lesion mask (i,j,k)."""
        volume = read_volume(self.scan, self.contrast)
        return volume, read_mask(self.mask, volume.grid)


def patients(data: Path) -> dict[str, list[Patient]]:
    """The development sets by name: glioma on FLAIR and on T1, multiple sclerosis on FLAIR (first rater)."""

    def of(folder: str, scan: str, mask: str, contrast: str, sign: int) -> list[Patient]:
        scans = sorted((data / folder).glob(f"*/{scan}"))
        return [Patient(path.parent.name, path, path.with_name(mask), contrast, sign) for path in scans]

    return {
        "glioma, FLAIR": of("lgg_flair_dev", "flair.nii.gz", "mask.nii.gz", "FLAIR", 1),
        MULTIPLE_SCLEROSIS: of("ms_isbi_dev", "flair.nii.gz", "mask_rater1.nii.gz", "FLAIR", 1),
        "glioma, T1": of("lgg_flair_dev", "t1.nii.gz", "mask.nii.gz", "T1", -1),
    }
