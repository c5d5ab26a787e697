"""The files of one case, all at once or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.findings import Findings
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.findings.thresholds import ThresholdChoice
from AnomalyDetectLib.io.read import case_name, read_mask, read_volume
from AnomalyDetectLib.io.write import BRAIN, REGIONS, SEQUENCES, results_folder, write_nifti
from AnomalyDetectLib.models.card import WEIGHTS, ModelCard
from AnomalyDetectLib.pipeline import Detection, SecondSequence
from AnomalyDetectLib.report.findings_csv import write_findings_csv
from AnomalyDetectLib.report.preview import write_preview
from AnomalyDetectLib.report.report_json import CaseReport, ModelUsed, SecondUsed, write_report
from AnomalyDetectLib.scoring.maps import AnomalyMaps

KEEP_BITS = 10  # three significant digits are more than the maps are worth


def case_report(detection: Detection, case: str, source: str, also: str = "") -> CaseReport:
    """What report.json says of a detection. source, also: paths of the scan and of its second sequence."""
    return CaseReport(
        case=case,
        input=source,
        modality=detection.prepared.modality,
        model=model_used(detection.card),
        threshold=detection.settings.threshold,
        fit=detection.prepared.fit,
        device=detection.device,
        image_score=detection.maps.image_score,
        image_p=detection.maps.image_p,
        expected_false_alarms=detection.expected_false_alarms,
        findings=detection.findings.table,
        stripped=detection.prepared.stripped,
        alignment_overlap=detection.prepared.alignment_overlap,
        seconds=detection.seconds,
        warnings=detection.warnings,
        also=None if detection.also is None else second_used(detection.also, also),
        sequences=detection.maps.sequence_names,
    )


def model_used(card: ModelCard) -> ModelUsed:
    """A model as report.json names it."""
    return ModelUsed(card.name, card.version, card.sha256.get(WEIGHTS, ""))


def second_used(second: SecondSequence, source: str) -> SecondUsed:
    """A second sequence as report.json names it. source: the path as it was given."""
    return SecondUsed(
        input=source,
        modality=second.scan.prepared.modality,
        model=model_used(second.scan.detector.card),
        fit=second.scan.prepared.fit,
        brain_overlap=second.placed.overlap,
        second_from_first=tuple(tuple(map(float, row)) for row in second.placed.second_from_first),
    )


def write_case(
    detection: Detection,
    out: Path,
    case: str,
    source: str,
    note: str = "",
    for_viewer: bool = False,
    also: str = "",
) -> CaseReport:
    """Write `out`/`case`/; what stood there before stays until everything new is there. note: on the picture.

    source, also: paths of the scan and of its second sequence. for_viewer: with the codes of the atlas, the
    brain mask and the sequence that each voxel's score comes from: a viewer builds its own engine from them.
    Raises `OutputError` when the place can't be written or the disk is full; then nothing new is left behind.
    """
    began = time.perf_counter()
    grid, maps = detection.volume.grid, detection.maps
    with results_folder(out, case) as folder:
        for name in ("healthy", "residual", "score", "uncertainty"):
            write_nifti(getattr(maps, name), grid, folder / f"{name}.nii.gz", keep_bits=KEEP_BITS)
        labelmap = detection.findings.labelmap
        write_nifti(labelmap.astype(np.int32), grid, folder / "mask.nii.gz")
        if for_viewer:
            write_nifti(maps.brain, grid, folder / BRAIN)
            if maps.region is not None:
                write_nifti(maps.region, grid, folder / REGIONS)
            if maps.sequence is not None:
                write_nifti(maps.sequence, grid, folder / SEQUENCES)
        write_findings_csv(detection.findings.table, folder / "findings.csv")
        write_preview(
            detection.volume,
            maps,
            labelmap,
            detection.findings.table,
            folder / "preview.png",
            case=case,
            model=models_named(detection),
            threshold=detection.settings.threshold,
            note=note,
        )
        detection.seconds["write"] = time.perf_counter() - began
        report = case_report(detection, case, source, also)
        write_report(report, folder / "report.json")
    return report


def models_named(detection: Detection) -> str:
    """The model or models in words, with what each looked at when there were two."""
    cards = [detection.card, *([detection.also.scan.detector.card] if detection.also else [])]
    models = [f"{card.name} {card.version}" for card in cards]
    if len(models) == 1:
        return models[0]
    pairs = zip(detection.maps.sequence_names, models, strict=True)
    return ", ".join(f"{sequence}: {model}" for sequence, model in pairs)


def write_findings_of_score(
    score: Path, brain_mask: Path | None, choice: ThresholdChoice, settings: FindingsSettings, out: Path
) -> Findings:
    """Findings of a score map of any tool, written as mask.nii.gz and findings.csv into `out`/<map's name>/.

    choice: of the threshold. settings: all else.
    Raises `VolumeError` for a map or mask that can't be read, `FindingsSettingsError`, `OutputError`.
    """
    volume = read_volume(score)
    mask = None if brain_mask is None else read_mask(brain_mask, volume.grid)
    maps = AnomalyMaps.from_score(volume.array, brain=mask, affine=volume.affine)
    found = FindingsEngine(maps).at(choice.applied(settings, maps))
    with results_folder(out, case_name(score)) as folder:
        write_nifti(found.labelmap, volume.grid, folder / "mask.nii.gz")
        write_findings_csv(found.table, folder / "findings.csv")
    return found
