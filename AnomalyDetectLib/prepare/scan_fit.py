"""Scan-fit gate: does this scan look like what the model knows, and if not, in which plain words?"""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.prepare.intensity import mode
from AnomalyDetectLib.prepare.prepared import Observations, ScanFit, Verdict
from AnomalyDetectLib.volume import BoolArray, FloatArray

BRAIN_ML = (750.0, 2300.0)
COARSE_MM, TOO_COARSE_MM = 4.0, 8.0
CUT_SHARE, TOO_CUT_SHARE = 0.02, 0.25
NOISE, TOO_NOISY = 0.12, 0.30


def tissue_ratios(
    image: FloatArray, fluid: BoolArray, grey: BoolArray, white: BoolArray
) -> tuple[float, float]:
    """Fluid and grey matter over white matter, from the modes of their intensities (X,Y,Z)."""
    reference = max(mode(image[white]), 1e-6)
    return float(np.median(image[fluid])) / reference, mode(image[grey]) / reference


def guess_modality(fluid: float, grey: float) -> str:
    """T1, T2, FLAIR or PD from the ratios of fluid and grey matter to white matter.

    T1: grey darker than white. Else fluid decides: darker than white FLAIR, much brighter T2, between them
    PD.
    """
    if grey < 0.95:
        return "T1"
    if fluid < 0.85:
        return "FLAIR"
    return "T2" if fluid > 1.5 else "PD"


def noise_level(image: FloatArray, white: BoolArray) -> float:
    """Noise SD over the mean in white matter: MAD of second differences along each axis, the smallest of the
    three.

    The second difference of white noise has SD sqrt(6) sigma; smooth tissue cancels.
    """
    levels = []
    for axis in range(3):
        second = np.diff(image, n=2, axis=axis)
        inner = [slice(None)] * 3
        inner[axis] = slice(1, -1)
        values = second[white[tuple(inner)]]
        if len(values) > 100:
            levels.append(1.4826 * float(np.median(np.abs(values - np.median(values)))) / np.sqrt(6))
    return min(levels) / max(float(image[white].mean()), 1e-6) if levels else 0.0


def judge(seen: Observations, contrasts: tuple[str, ...], ages: tuple[float, float] | None = None) -> ScanFit:
    """The verdict: the worst of all checks. contrasts and ages (years): what the model was trained on."""
    reasons: list[tuple[Verdict, str]] = []

    def grade(value: float, warn: float, refuse: float, text: str) -> None:
        if value > warn:
            reasons.append(("refuse" if value > refuse else "warn", text))

    low, high = BRAIN_ML
    if not low <= seen.brain_ml <= high:
        reasons.append(
            (
                "refuse",
                f"not a whole adult brain: {seen.brain_ml:.0f} ml found, {low:.0f}-{high:.0f} ml expected",
            )
        )
    modality = seen.asked or seen.guessed
    if modality not in contrasts:
        reasons.append(("refuse", f"the scan is {modality}; the model knows {', '.join(contrasts)}"))
    elif seen.asked is not None and seen.asked != seen.guessed:
        reasons.append(("warn", f"given as {seen.asked}, but it looks like {seen.guessed}"))
    grade(
        seen.spacing_mm,
        COARSE_MM,
        TOO_COARSE_MM,
        f"coarse voxels: {seen.spacing_mm:.1f} mm; small findings are lost",
    )
    grade(
        seen.cut_share,
        CUT_SHARE,
        TOO_CUT_SHARE,
        f"the field of view cuts off {100 * seen.cut_share:.0f} % of the brain",
    )
    grade(
        seen.noise, NOISE, TOO_NOISY,
        f"noise or motion of {100 * seen.noise:.0f} % of white matter, more than the training scans have",
    )  # fmt: skip
    if seen.age is not None and ages is not None and not ages[0] <= seen.age <= ages[1]:
        reasons.append(("warn", f"age {seen.age:.0f}: the model has seen ages {ages[0]:.0f}-{ages[1]:.0f}"))
    order: tuple[Verdict, ...] = ("ok", "warn", "refuse")
    worst: Verdict = max((verdict for verdict, _ in reasons), key=order.index, default="ok")
    return ScanFit(worst, tuple(text for _, text in reasons))
