"""A small DICOM series that the tests of DICOM SEG share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

# Columns, rows, slices; a sagittal series, so that no axis of it is one of the patient's by chance.
SHAPE = (12, 16, 9)
BETWEEN_ROWS, BETWEEN_COLUMNS, BETWEEN_SLICES = 1.5, 0.8, 2.5
ORIENTATION = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
START = (-10.0, -20.0, 30.0)


def affine() -> np.ndarray:
    """4x4 from column, row, slice to RAS mm; slices run to the patient's right."""
    lps = np.eye(4)
    lps[:3, 0] = np.array(ORIENTATION[:3]) * BETWEEN_COLUMNS
    lps[:3, 1] = np.array(ORIENTATION[3:]) * BETWEEN_ROWS
    lps[:3, 2] = (-BETWEEN_SLICES, 0.0, 0.0)
    lps[:3, 3] = START
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def write_series(
    folder: Path, shape: tuple[int, int, int] = SHAPE, *, anonymised: bool = False, lean: float = 0.0
) -> str:
    """Write the series; its SeriesInstanceUID. lean: shift of each slice against the one before, mm."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, slices = shape
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(slices):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.SeriesNumber, data.InstanceNumber = "MR", 4, number + 1
        if not anonymised:
            data.SpecificCharacterSet = "ISO_IR 192"
            data.PatientName, data.PatientID, data.PatientSex = "Müller^Jörg", "17", "M"
            data.PatientBirthDate, data.AccessionNumber, data.StudyID = "19700101", "A1", "S1"
            data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20200102", "101112", ""
        place = (START[0] - BETWEEN_SLICES * number, START[1] + lean * number, START[2])
        data.ImagePositionPatient, data.ImageOrientationPatient = list(place), list(ORIENTATION)
        data.PixelSpacing = [BETWEEN_ROWS, BETWEEN_COLUMNS]
        data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        pixels = np.random.default_rng(number).integers(0, 900, (rows, columns)).astype(np.uint16)
        data.PixelData = pixels.tobytes()
        # Names run against the places: only the header may order the slices.
        pydicom.dcmwrite(folder / f"{99 - number:03d}.dcm", data, enforce_file_format=True)
    return str(series)
