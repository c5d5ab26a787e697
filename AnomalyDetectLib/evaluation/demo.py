"""The demo: the bundled simulated patient from file to findings, held against its known lesions."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.overlap import lesion_cover
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import detect, load_detector, load_head_network
from AnomalyDetectLib.report.console_table import findings_table
from AnomalyDetectLib.report.notice import NOTICE
from AnomalyDetectLib.report.write_case import write_case
from AnomalyDetectLib.resources import resource

CASE = "demo"


def run_demo(out: Path, false_alarms: float, console: Console) -> None:
    """Run the road on the simulated patient, print findings, true lesions and seconds, and write the
    pictures.
    """
    scan = resource("SampleData", "demo_t1.nii.gz")
    facts = json.loads(resource("SampleData", "demo.json").read_text(encoding="utf-8"))
    truth = np.asarray(nib.load(resource("SampleData", "demo_truth.nii.gz")).dataobj)
    console.print(f"[bold]{facts['statement']}[/bold]", highlight=False)
    detection = detect(
        read_volume(scan),
        load_head_network(),
        lambda contrast: load_detector(zoo.choose("auto", contrast), contrast=contrast),
        expected_false_alarms=false_alarms,
    )
    report = write_case(detection, out, CASE, str(scan), note="simulated patient").to_dict()
    console.print(findings_table(report["findings"], detection.settings.threshold, false_alarms))
    console.print(_lesion_table(facts["lesions"], lesion_cover(detection.findings.labelmap, truth)))
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in report["seconds"].items())
    console.print(f"seconds: {seconds}; in all {sum(report['seconds'].values()):.1f}")
    console.print(f"pictures and maps: {out / CASE / 'preview.png'} and beside it")
    console.print(NOTICE, style="dim")


def _lesion_table(lesions: list[dict[str, object]], cover: dict[int, float]) -> Table:
    table = Table(
        "lesion", "where", "ml", "on T1", "found", "of it", title="True lesions of the simulated patient"
    )
    for lesion in lesions:
        share = cover.get(int(str(lesion["label"])), 0.0)
        table.add_row(
            str(lesion["kind"]),
            str(lesion["location"]),
            f"{float(str(lesion['volume_ml'])):.2f}",
            str(lesion["sign"]),
            "[green]yes[/green]" if share > 0 else "[red]no[/red]",
            f"{100 * share:.0f} %",
        )
    return table
