"""The scans that benchmark zoo measures on: simulated lesions in T1, gliomas and multiple sclerosis in FLAIR,
CT.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.pathology import MULTIPLE_SCLEROSIS, patients
from AnomalyDetectLib.evaluation.simulated_lesions import simulate
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models.slices import brain_slices
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.training.calibration import evenly, healthy_scans, prepared_cases
from AnomalyDetectLib.training.ct_heads import ct_patients, healthy_heads, own_slices, prepared_heads
from AnomalyDetectLib.training.slice_data import (
    LEAST_BRAIN,
    glioma_patients,
    on_working_grid,
    prepared_flair_case,
)
from AnomalyDetectLib.volume import BoolArray, FloatArray

SEED = 4022  # its own: no other benchmark, and no training, sees these lesions

FITTED_EVERY = 3  # of the scans that statistics are made from


@dataclass(frozen=True)
class ZooCase:
    """One patient. lesion: bool (X,Y,Z), None where only slices are labelled. slices: k that are measured.

    ill: whether each of `slices` shows a lesion. own: k of the scan's own grid in whose place `slices` stand,
    where these are what is labelled.
    """

    patient: str
    prepared: Prepared
    lesion: BoolArray | None
    slices: tuple[int, ...]
    ill: NDArray[np.bool_]
    own: tuple[int, ...] | None = None

    def pictures(self, score: FloatArray) -> Iterator[tuple[FloatArray, BoolArray]]:
        """A map (X,Y,Z) and the brain in each measured slice; on the scan's own grid where it is labelled."""
        if self.own is None:
            for k in self.slices:
                yield score[:, :, k], self.prepared.brain[:, :, k]
        else:
            mapped = self.prepared.to_input.to_input(score)
            for k in self.own:
                yield mapped[:, :, k], self.prepared.input_brain[:, :, k]


@dataclass(frozen=True)
class ZooSet:
    """name: of the table. contrast: of the scans. bright: only brighter than healthy counts, as in FLAIR.

    sizes: voxels have a known volume.
    """

    name: str
    contrast: str
    bright: bool
    sizes: bool


SETS = (
    ZooSet("T1, simulated lesions", "T1", bright=False, sizes=True),
    ZooSet("FLAIR, lower-grade glioma", "FLAIR", bright=True, sizes=False),
    ZooSet("FLAIR, multiple sclerosis", "FLAIR", bright=True, sizes=True),
    ZooSet("CT, haemorrhage", "CT", bright=True, sizes=False),
)


def healthy_cases(data: Path, cache: Path, contrast: str, limit: int | None) -> Iterator[ZooCase]:
    """What thresholds come from. T1: the held-out scans as they are. FLAIR: lesion-free slices of the
    training patients, since there are no healthy scans. CT: none, since no lesion is drawn.
    """
    if contrast == "T1":
        for case in prepared_cases(evenly(healthy_scans(data, "val"), limit), load_head_network(), cache):
            yield _case(case.volume.name, case.prepared, np.zeros_like(case.prepared.brain))
    elif contrast == "FLAIR":
        for folder in evenly(glioma_patients(data, "train"), limit):
            prepared, scan = prepared_flair_case(folder, cache)
            yield ZooCase(folder.name, prepared, None, scan.usable, np.zeros(len(scan.usable), bool))


def training_cases(data: Path, cache: Path, contrast: str, limit: int | None) -> Iterator[ZooCase]:
    """Healthy slices of patients that are not measured, for what is fitted before measuring, where those that
    thresholds come from can't serve: T1, whose lesions are put into the same heads; CT, which has none.
    """
    if contrast == "T1":
        paths = evenly(healthy_scans(data, "train")[::FITTED_EVERY], limit)
        for case in prepared_cases(paths, load_head_network(), cache):
            yield _case(case.volume.name, case.prepared, np.zeros_like(case.prepared.brain))
    elif contrast == "CT":
        for case in itertools.islice(healthy_heads(data, cache, "train"), limit):
            yield _case(case.volume.name, case.prepared, np.zeros_like(case.prepared.brain))


def healthy_ground(
    data: Path, cache: Path, contrast: str, limit: int | None
) -> tuple[list[ZooCase], list[ZooCase]]:
    """Healthy cases that thresholds come from, and those that hybrids are fitted to: the very same list where
    it can serve for both.
    """
    healthy = list(healthy_cases(data, cache, contrast, limit))
    return healthy, list(training_cases(data, cache, contrast, limit)) or healthy


def lesion_cases(data: Path, cache: Path, which: ZooSet, limit: int | None) -> Iterator[ZooCase]:
    """The patients of one set; of the gliomas those that no model was trained on."""
    if which.contrast == "CT":
        yield from _ct_cases(data, cache, limit)
    elif which.contrast == "T1":
        yield from _simulated(data, limit)
    elif "glioma" in which.name:
        for folder in evenly(glioma_patients(data, "val"), limit):
            prepared, _ = prepared_flair_case(folder, cache)
            mask = read_volume(folder / "mask.nii.gz").array
            yield _case(folder.name, prepared, on_working_grid(mask, prepared))
    else:
        for patient in evenly(patients(data)[MULTIPLE_SCLEROSIS], limit):
            volume, lesion = patient.read()
            prepared = prepare(volume, load_head_network())
            yield _case(patient.name, prepared, on_working_grid(lesion.astype(np.float32), prepared))


def _case(name: str, prepared: Prepared, lesion: BoolArray) -> ZooCase:
    slices = brain_slices(prepared.brain, LEAST_BRAIN)
    return ZooCase(name, prepared, lesion, tuple(slices), np.asarray(lesion.any((0, 1)))[slices])


def _simulated(data: Path, limit: int | None) -> Iterator[ZooCase]:
    network = load_head_network()
    for number, path in enumerate(evenly(healthy_scans(data, "val"), limit)):
        volume = read_volume(path)
        clean = prepare(volume, network)
        case = simulate(volume, clean, np.random.default_rng([SEED, number]))
        ill = prepare(case.scan, network)
        yield _case(case.scan.name, ill, on_working_grid((case.truth > 0).astype(np.float32), ill))


def _ct_cases(data: Path, cache: Path, limit: int | None) -> Iterator[ZooCase]:
    chosen = evenly(ct_patients(data, "val"), limit)
    for patient, case in zip(chosen, prepared_heads(chosen, cache), strict=True):
        own, nearest = own_slices(case.prepared)
        bleeding = np.array([patient.bleeding[k] for k in own], dtype=bool)
        yield ZooCase(patient.name, case.prepared, None, nearest, bleeding, own)
