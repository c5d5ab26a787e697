"""benchmark road: seconds a stage, peak memory, and whether the same scan gives the same bytes, on 1-mm
whole heads.
"""

from __future__ import annotations

import json
import resource as system
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import Detection, Detector, detect, load_detector, load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.report.write_case import write_case
from AnomalyDetectLib.resources import resource
from AnomalyDetectLib.volume import Grid, Volume, resample

REPEATS = 3
MAPS = ("healthy.nii.gz", "residual.nii.gz", "score.nii.gz", "uncertainty.nii.gz", "mask.nii.gz")


def at_one_millimetre(volume: Volume) -> Volume:
    """The scan resampled to 1-mm voxels, so that stages cost what they cost on a usual whole head."""
    size = np.round(np.array(volume.array.shape) * volume.grid.spacing).astype(int)
    step = np.diag([*(1 / np.array(volume.grid.spacing)), 1.0])
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), volume.affine @ step)
    return Volume(np.asarray(resample(volume.array, volume.grid, grid)), grid.affine, name=volume.name)


def run(data: Path, out: Path, console: Console) -> dict[str, object]:
    """Measure on the simulated patient and on one external scan; print and write road.json."""
    network = load_head_network()
    detectors: dict[str, Detector] = {}

    def detector(contrast: str) -> Detector:
        if contrast not in detectors:
            detectors[contrast] = load_detector(zoo.choose("auto", contrast), contrast=contrast)
        return detectors[contrast]

    external = sorted((data / "healthy_external_t1").glob("*.nii.gz"))[0]
    scans = {
        "simulated patient": read_volume(resource("SampleData", "demo_t1.nii.gz")),
        "external T1 at 1 mm": at_one_millimetre(read_volume(external)),
    }
    figures: dict[str, object] = {}
    for name, volume in scans.items():
        with tempfile.TemporaryDirectory() as folder:
            runs = [seconds_of(volume, network, detector, Path(folder) / str(n)) for n in range(REPEATS + 1)][
                1:
            ]
        stages = {stage: float(np.median([one[stage] for one in runs])) for stage in runs[0]}
        table = Table(
            "stage",
            "seconds (median, warm)",
            title=f"{name}, {volume.array.shape}, {torch.get_num_threads()} threads",
        )
        for stage, value in stages.items():
            table.add_row(stage, f"{value:.2f}")
        table.add_row("in all", f"{sum(stages.values()):.2f}")
        console.print(table)
        figures[name] = stages | {"in all": sum(stages.values())}
    figures["peak memory GB"] = peak_gigabytes()
    figures["same bytes twice"] = same_bytes(scans["simulated patient"], network, detector)
    figures["largest change of z with 1 thread"] = thread_change(
        scans["simulated patient"], network, detector
    )
    for name in ("peak memory GB", "same bytes twice", "largest change of z with 1 thread"):
        console.print(f"{name}: {figures[name]}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "road.json").write_text(json.dumps(figures, indent=1))
    return figures


def seconds_of(volume: Volume, network: HeadNetwork, detector: object, folder: Path) -> dict[str, float]:
    """Seconds of every stage of one run, writing included."""
    detection: Detection = detect(volume, network, detector)  # type: ignore[arg-type]
    write_case(detection, folder, "case", volume.name)
    return dict(detection.seconds)


def peak_gigabytes() -> float:
    """Peak resident memory of this process; Linux counts in kB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return system.getrusage(system.RUSAGE_SELF).ru_maxrss * unit / 1e9


def same_bytes(volume: Volume, network: HeadNetwork, detector: object) -> bool:
    """Whether two runs write the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            write_case(detect(volume, network, detector), Path(folder), name, volume.name)  # type: ignore[arg-type]
        return all(
            (Path(folder) / "a" / file).read_bytes() == (Path(folder) / "b" / file).read_bytes()
            for file in MAPS
        )


def thread_change(volume: Volume, network: HeadNetwork, detector: object) -> float:
    """Largest |difference| of the score between one thread and as many as there are."""
    threads = torch.get_num_threads()
    own = detect(volume, network, detector).maps.score  # type: ignore[arg-type]
    torch.set_num_threads(1)
    one = detect(volume, network, detector).maps.score  # type: ignore[arg-type]
    torch.set_num_threads(threads)
    return float(np.abs(own - one).max())
