"""How long the panel takes: a slider step, its surfaces, and the longest gap between turns of the event loop.

Measured on slicer-core with the stand-ins of Testing/slicer_host, so it needs a checkout and EGL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError

SCRIPT = "Testing.slicer_host.timings"
# What a reader doesn't notice, milliseconds.
AT_MOST = {
    "slider_step_ms_p95": 60,
    "settle_with_surfaces_ms_max": 400,
    "longest_gap_ms_simulated_patient": 100,
    "longest_gap_ms_many_findings": 100,
}


def run(out: Path, console: Console) -> None:
    """Measure in a process of its own and write `out`/panel.json. Raises `AnomalyDetectError` without a
    checkout, slicer-core or EGL.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "Testing" / "slicer_host").is_dir():
        raise AnomalyDetectError(
            "benchmark panel: needs a checkout of the repository, not an installed package"
        )
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", SCRIPT], capture_output=True, text=True, check=False, cwd=root, env=environment
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AnomalyDetectError(f"benchmark panel: {reason}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "panel.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for name, value in figures.items():
        console.print(f"{name}: {value}{f' (at most {AT_MOST[name]})' if name in AT_MOST else ''}")
