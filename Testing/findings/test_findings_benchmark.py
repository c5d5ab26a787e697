"""`benchmark findings` prints its tables and holds the engine to the plain chain."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from AnomalyDetectLib.evaluation.findings_benchmark import CASES, run


def test_the_benchmark_prints_and_writes_times_ratio_memory_and_exactness(tmp_path: Path) -> None:
    printed = io.StringIO()
    result = run(tmp_path, steps=12, checks=2, shape=(30, 36, 30), console=Console(file=printed, width=160))
    assert result == json.loads((tmp_path / "findings_benchmark.json").read_text(encoding="utf-8"))
    assert result["exact"]
    assert {row["case"] for row in result["sliders"]} == set(CASES)
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in result["sliders"])
    assert all(row["ratio"] > 0 for row in result["sliders"])
    assert all(case["memory_mb"] > 0 for case in result["cases"].values())
    for word in (*CASES, "threshold", "opening", "memory MB", "ratio", "exact", "2/2"):
        assert word in printed.getvalue()
    assert "NO" not in printed.getvalue()
