"""prepare(): from a scan to the working grid, stage by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare import alignment, brain_extraction, intensity, scan_fit
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.prepare.template import Template, load_template
from AnomalyDetectLib.volume import BoolArray, FloatArray, Grid, Volume, resample, resample_mask


@dataclass(frozen=True)
class Working:
    """The scan on the working grid before its intensities are scaled; tissue: probability (3,X,Y,Z)."""

    image: FloatArray
    brain: BoolArray
    tissue: FloatArray

    def likely(self, channel: int) -> BoolArray:
        """Voxels (X,Y,Z) of the brain whose most probable tissue is `channel` (0 fluid, 1 grey, 2 white)."""
        return np.asarray((self.tissue.argmax(0) == channel) & self.brain)


def prepare(
    volume: Volume,
    network: HeadNetwork,
    *,
    brain_mask: BoolArray | None = None,
    age: float | None = None,
) -> Prepared:
    """Find the brain, align it, scale it and observe what the scan-fit gate wants to know.

    network: the head network. brain_mask: bool (i,j,k) to use instead of the found one. age: years, if known.
    Raises `PreparationError` when there is no brain or when it can't be aligned.
    """
    template = load_template()
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal clock
        seconds[stage] = time.perf_counter() - clock
        clock = time.perf_counter()

    reading = brain_extraction.read_head(volume, network)
    if brain_mask is not None:
        reading = replace(reading, brain=resample_mask(brain_mask, volume.grid, reading.grid))
    done("brain_extraction")
    fitted = alignment.align(reading, template)
    if not fitted.trusted:
        raise PreparationError(
            f"{volume.name}: alignment failed: {fitted.problem}; check the scan or give --brain-mask"
        )
    way = WayBack(volume.grid, template.grid, fitted.template_from_input)
    working = _to_working(volume, reading, way)
    done("alignment")
    white, grey = working.likely(2), working.likely(1)
    image, scale, bias = intensity.normalise(working.image, working.brain, white, grey, template.deep_white)
    done("intensity")
    ratios = scan_fit.tissue_ratios(image, working.brain, template)
    guessed = scan_fit.guess_modality(*ratios)
    exponent = intensity.contrast_exponent(image, grey, volume.modality or guessed)
    seen = Observations(
        brain_ml=reading.brain_ml,
        spacing_mm=max(volume.grid.spacing),
        cut_share=_cut_share(volume, way, template),
        noise=scan_fit.noise_level(image, white),
        guessed=guessed,
        asked=volume.modality,
        age=age,
    )
    if brain_mask is None:
        brain_mask = resample_mask(reading.brain, reading.grid, volume.grid)
    done("scan_fit")
    return Prepared(
        tensor=torch.from_numpy(np.maximum(image, 0) ** np.float32(exponent))[None, None],
        brain=working.brain,
        input_brain=brain_mask,
        to_input=way,
        modality=volume.modality or guessed,
        fit=ScanFit(),
        scale=scale,
        bias=bias,
        observations=seen,
        alignment_overlap=fitted.overlap,
        stripped=reading.stripped,
        exponent=exponent,
        seconds=seconds,
    )


def _to_working(volume: Volume, reading: brain_extraction.HeadReading, way: WayBack) -> Working:
    back = np.linalg.inv(way.working_from_input)

    def carry(array: FloatArray, grid: Grid) -> FloatArray:
        return resample(array, grid, way.working, source_from_target=back)

    return Working(
        image=carry(volume.array, volume.grid),
        brain=resample_mask(reading.brain, reading.grid, way.working, source_from_target=back),
        tissue=np.stack([carry(channel, reading.grid) for channel in reading.tissue]),
    )


def _cut_share(volume: Volume, way: WayBack, template: Template) -> float:
    """Fraction of the template's brain whose place in the scan lies outside its voxels."""
    points = np.argwhere(template.brain)[::11]
    to_index = np.linalg.inv(volume.affine) @ np.linalg.inv(way.working_from_input) @ template.grid.affine
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    outside = (index < -1).any(1) | (index > np.array(volume.array.shape)).any(1)
    return float(outside.mean())
