"""Scan-fit gate: does this scan look like what the model knows, and if not, in which plain words?"""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.prepare.computed_tomography import CT
from AnomalyDetectLib.prepare.intensity import mode
from AnomalyDetectLib.prepare.prepared import Observations, ScanFit, Verdict
from AnomalyDetectLib.prepare.template import Template
from AnomalyDetectLib.volume import BoolArray, FloatArray

BRAIN_ML = (750.0, 2300.0)
COARSE_MM, TOO_COARSE_MM = 4.0, 8.0
CUT_SHARE, TOO_CUT_SHARE = 0.02, 0.25
NOISE, TOO_NOISY = 0.12, 0.30
FLUID_PERCENTILE = 20
DARK_CORTEX, DARK_FLUID, BRIGHT_FLUID = 0.84, 0.8, 1.45


def tissue_ratios(image: FloatArray, brain: BoolArray, template: Template) -> tuple[float, float]:
    """Fluid and cortex over deep white matter, read where healthy brains have them in the template.

    image: aligned (X,Y,Z), 0 outside the brain. A segmentation would follow the very contrast that is asked
    for. Fluid: its 20th percentile, because the voxels around narrow sulci hold cortex, too. Cortex and white
    matter: the modes.
    """
    reference = max(mode(image[template.deep_white & brain]), 1e-6)
    fluid = float(np.percentile(image[template.fluid & brain], FLUID_PERCENTILE))
    return fluid / reference, mode(image[template.cortex & brain]) / reference


def guess_modality(fluid: float, cortex: float) -> str:
    """T1, T2, FLAIR or PD from the ratios of fluid and cortex to white matter.

    T1: cortex darker than white matter. Else fluid decides: darker than white matter FLAIR, much brighter T2,
    between them PD.
    """
    if cortex < DARK_CORTEX:
        return "T1"
    if fluid < DARK_FLUID:
        return "FLAIR"
    return "T2" if fluid > BRIGHT_FLUID else "PD"


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
        hint = ""
        if seen.asked is None and CT in contrasts:  # pictures of 8 bits look like this contrast or that
            hint = "; a CT that isn't in Hounsfield units has to be given as CT"
        reasons.append(("refuse", f"the scan is {modality}; the model knows {', '.join(contrasts)}{hint}"))
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
