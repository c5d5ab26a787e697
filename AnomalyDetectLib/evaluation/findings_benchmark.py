"""How long a slider step takes: recorded drags on made-up maps, against the plain scipy chain."""

from __future__ import annotations

import gc
import json
import os
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.findings_reference import reference_findings
from AnomalyDetectLib.findings import FindingsEngine, FindingsSettings, Session
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import BoolArray, FloatArray, smooth

SHAPE = (182, 218, 182)
BRAIN_RADII_MM = (68.0, 86.0, 74.0)  # 1.8 litres
NOISE_SIGMA_MM = 2.5
CASES = ("healthy", "40 small lesions", "150-ml lesion")
# Voxels beyond the threshold at the ends of a threshold drag: five decades.
FEWEST, MOST = 5, 500_000
TARGET_MS, TARGET_BUILD_S, TARGET_MB = 33.0, 1.0, 600.0


@dataclass(frozen=True)
class Timing:
    """One slider on one case: ms a step (median, 95th percentile), the plain chain's, and exactness."""

    case: str
    slider: str
    steps: int
    p50_ms: float
    p95_ms: float
    plain_ms: float
    ratio: float
    checked: int
    exact: bool


def run(
    out: Path | None = None,
    *,
    threads: int = 2,
    steps: int = 200,
    checks: int = 4,
    shape: tuple[int, int, int] = SHAPE,
    console: Console | None = None,
) -> dict[str, Any]:
    """Time every slider on every case, print the tables, and write `findings_benchmark.json` into `out`.

    threads: CPU cores the process may use. steps: of each drag. checks: steps of each drag that are compared
    voxel for voxel with the plain chain, whose time makes the ratio. shape: of the 1-mm grid. Returns what is
    written.
    """
    timings: list[Timing] = []
    cases: dict[str, dict[str, float]] = {}
    with _cores(threads) as cores:
        for case in CASES:
            maps = synthetic_maps(case, shape)
            build_s, engine = _best_build(maps)
            cases[case] = {"build_s": build_s, **_whole_case(maps, engine)}
            for slider, drag in drags(maps, steps).items():
                timings.append(_timed(case, slider, engine, drag, checks))
    result = {
        "shape": list(shape),
        "cores": cores,
        "processor": platform.processor() or platform.machine(),
        "targets": {"step_p95_ms": TARGET_MS, "build_s": TARGET_BUILD_S, "memory_mb": TARGET_MB},
        "cases": cases,
        "sliders": [asdict(timing) for timing in timings],
        "exact": all(timing.exact for timing in timings),
    }
    _print(console or Console(), timings, cases, cores)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "findings_benchmark.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def synthetic_maps(case: str, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> AnomalyMaps:
    """Smooth Gaussian noise in an ellipsoid brain, z, 1 mm, with lesions; uncertainty 0.2 to 1.2."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal(shape).astype(np.float32)
    score = smooth(noise, (NOISE_SIGMA_MM,) * 3)
    score /= score.std()
    scale = min(size / full for size, full in zip(shape, SHAPE, strict=True))
    centre = [(size - 1) / 2 for size in shape]
    brain = _ellipsoid(shape, centre, [radius * scale for radius in BRAIN_RADII_MM])
    if case == "40 small lesions":
        inside = np.argwhere(_ellipsoid(shape, centre, [0.85 * radius * scale for radius in BRAIN_RADII_MM]))
        for where in inside[random.integers(0, len(inside), 40)]:
            sign = 1 if random.random() < 0.7 else -1
            lesion = _ellipsoid(shape, where, random.uniform(2.5, 6.0, 3) * scale)
            score[lesion] += np.float32(sign * random.uniform(3, 8))
    elif case == "150-ml lesion":
        where = [middle + 0.3 * radius * scale for middle, radius in zip(centre, BRAIN_RADII_MM, strict=True)]
        score[_ellipsoid(shape, where, [33 * scale] * 3)] += 5
    uncertainty = np.broadcast_to(np.linspace(0.2, 1.2, shape[0], dtype=np.float32)[:, None, None], shape)
    plain = AnomalyMaps.from_score(np.where(brain, score, 0).astype(np.float32), brain=brain)
    return AnomalyMaps(
        grid=plain.grid,
        brain=brain,
        healthy=plain.healthy,
        residual=plain.residual,
        score=plain.score,
        uncertainty=np.ascontiguousarray(uncertainty),
    )


def drags(maps: AnomalyMaps, steps: int) -> dict[str, list[FindingsSettings]]:
    """A drag of each slider over its range, there and back as a hand moves it."""
    strength = np.sort(np.abs(maps.score[maps.brain]))
    most = min(MOST, len(strength) // 2)
    along = _hand(steps)

    def beyond(voxels: float) -> float:
        return float(max(strength[-int(voxels)], 0.01))

    base = FindingsSettings(threshold=beyond(most / 50))
    busy = base.changed(open_mm=1, close_mm=2, grow_mm=1)
    decades = [beyond(voxels) for voxels in np.geomspace(most, min(FEWEST, most), 500)]
    thresholds = [decades[int(position * 499)] for position in along]
    weak = beyond(most / 10)
    largest = min(1e4, np.count_nonzero(maps.brain) / 2)
    return {
        "threshold": [base.changed(threshold=z) for z in thresholds],
        "threshold, all others on": [busy.changed(threshold=z) for z in thresholds],
        "minimum volume": [base.changed(min_volume_mm3=float(largest * x**2)) for x in along],
        "opening": [base.changed(open_mm=float(10 * x)) for x in along],
        "closing": [base.changed(close_mm=float(10 * x)) for x in along],
        "grow and shrink": [base.changed(grow_mm=float(10 * x - 5)) for x in along],
        "weak threshold": [base.changed(hysteresis=float(weak + (base.threshold - weak) * x)) for x in along],
        "uncertainty limit": [base.changed(max_uncertainty=float(0.2 + x)) for x in along],
    }


def _hand(steps: int) -> NDArray[np.float64]:
    """Slider positions 0 to 1: slow, fast, slow, twice there and back, with a tremor of 1 %."""
    phase = np.linspace(0, 4 * np.pi, steps)
    tremor = 0.01 * np.sin(np.arange(steps) * 2.4)
    return np.asarray(np.clip((1 - np.cos(phase)) / 2 + tremor, 0, 1))


def _timed(
    case: str, slider: str, engine: FindingsEngine, drag: list[FindingsSettings], checks: int
) -> Timing:
    milliseconds = [_seconds(partial(_step, engine, settings)) * 1e3 for settings in drag]
    plain, exact = [], True
    positions = np.linspace(0, len(drag) // 4, checks).astype(int)  # the slider's whole range, once
    for settings in (drag[position] for position in positions):
        start = time.perf_counter()
        expected = reference_findings(engine.maps, settings)
        plain.append((time.perf_counter() - start) * 1e3)
        exact &= bool(np.array_equal(expected.labelmap, engine.at(settings).labelmap))
    p50, p95 = (float(value) for value in np.percentile(milliseconds, (50, 95)))
    plain_ms = float(np.median(plain))
    return Timing(case, slider, len(drag), p50, p95, plain_ms, plain_ms / p50, checks, exact)


def _step(engine: FindingsEngine, settings: FindingsSettings) -> NDArray[np.int32]:
    return engine.at(settings).labelmap


def _whole_case(maps: AnomalyMaps, engine: FindingsEngine) -> dict[str, float]:
    """What a case costs beside the steps: table and session in ms, and memory in MB."""
    base = drags(maps, 8)["minimum volume"][0].changed(min_volume_mm3=30)
    findings = engine.at(base)
    table_ms = _seconds(lambda: findings.table) * 1e3
    session = Session(engine, base)
    moved = base.changed(threshold=1.01 * base.threshold)
    session_ms = _seconds(lambda: session.preview(moved).labelmap) * 1e3
    return {
        "findings": float(len(findings)),
        "table_ms": table_ms,
        "session_step_ms": session_ms,
        "memory_mb": _peak_mb(maps),
    }


def _best_build(maps: AnomalyMaps) -> tuple[float, FindingsEngine]:
    seconds = min(_seconds(lambda: FindingsEngine(maps)) for _ in range(3))
    return seconds, FindingsEngine(maps)


def _peak_mb(maps: AnomalyMaps) -> float:
    """Largest memory in MB of building an engine and dragging it, the maps not counted."""
    gc.collect()
    tracemalloc.start()
    engine = FindingsEngine(maps)
    for drag in drags(maps, 4).values():
        for settings in drag:
            _step(engine, settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _cores(threads: int) -> Iterator[int]:
    """Keep the process on that many cores where the system allows it; gives the number of cores it has."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)


def _ellipsoid(shape: tuple[int, int, int], centre: Any, radii: Any) -> BoolArray:
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    distance: FloatArray = sum(
        ((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True)
    )
    return np.asarray(distance <= 1)


def _print(console: Console, timings: list[Timing], cases: dict[str, dict[str, float]], cores: int) -> None:
    steps = Table(title=f"One slider step, {cores} cores (target {TARGET_MS:g} ms at the 95th percentile)")
    for column in ("case", "slider"):
        steps.add_column(column)
    for column in ("p50 ms", "p95 ms", "plain scipy ms", "ratio", "exact"):
        steps.add_column(column, justify="right")
    for timing in timings:
        exact = f"{timing.checked}/{timing.checked}" if timing.exact else "NO"
        steps.add_row(
            timing.case,
            timing.slider,
            f"{timing.p50_ms:.1f}",
            f"{timing.p95_ms:.1f}",
            f"{timing.plain_ms:.0f}",
            f"{timing.ratio:.0f}x",
            exact,
        )
    console.print(steps)
    whole = Table(title=f"One case (targets: build {TARGET_BUILD_S:g} s, memory {TARGET_MB:g} MB)")
    whole.add_column("case")
    for column in ("build s", "memory MB", "findings", "table ms", "session step ms"):
        whole.add_column(column, justify="right")
    for case, values in cases.items():
        whole.add_row(
            case,
            f"{values['build_s']:.2f}",
            f"{values['memory_mb']:.0f}",
            f"{values['findings']:.0f}",
            f"{values['table_ms']:.1f}",
            f"{values['session_step_ms']:.1f}",
        )
    console.print(whole)
