"""prepare(): from a scan to the working grid, stage by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.prepare import alignment, brain_extraction, computed_tomography, intensity, scan_fit
from AnomalyDetectLib.prepare.brain_extraction import HeadReading
from AnomalyDetectLib.prepare.computed_tomography import BrainWindow
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
    CT is looked at in a brain window; all else is the same road. Raises `PreparationError` when there is no
    brain, when it can't be aligned, or for CT that is neither in Hounsfield units nor a brain window.
    """
    template = load_template()
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal clock
        seconds[stage] = time.perf_counter() - clock
        clock = time.perf_counter()

    window = computed_tomography.windowed(volume) if computed_tomography.is_ct(volume) else None
    reading, own_brain = _found(volume, network, window, brain_mask)
    done("brain_extraction")
    fitted = alignment.align(reading, template)
    if not fitted.trusted:
        raise PreparationError(
            f"{volume.name}: alignment failed: {fitted.problem}; check the scan or give --brain-mask"
        )
    way = WayBack(volume.grid, template.grid, fitted.template_from_input)
    working = _to_working(volume, reading, way)
    done("alignment")
    exponent, bias = 1.0, np.ones_like(working.image)
    if window is not None:
        back = np.linalg.inv(way.working_from_input)
        greys, inside = computed_tomography.carried(window, own_brain, way.working, back)
        working = replace(working, brain=inside)
        image, scale = computed_tomography.scaled(greys, working.brain, volume.name)
        scale *= window.unit
        guessed, white = computed_tomography.CT, template.deep_white & working.brain
    else:
        white, grey = working.likely(2), working.likely(1)
        image, scale, bias = intensity.normalise(
            working.image, working.brain, white, grey, template.deep_white
        )
        guessed = _guessed(volume, image, working.brain, template)
        exponent = intensity.contrast_exponent(image, grey, volume.modality or guessed)
    done("intensity")
    seen = Observations(
        brain_ml=reading.brain_ml,
        spacing_mm=max(volume.grid.spacing),
        cut_share=_cut_share(volume, way, template),
        noise=scan_fit.noise_level(image, white),
        guessed=guessed,
        asked=volume.modality,
        age=age,
    )
    done("scan_fit")
    return Prepared(
        tensor=torch.from_numpy(np.maximum(image, 0) ** np.float32(exponent))[None, None],
        brain=working.brain,
        input_brain=own_brain,
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


def _found(
    volume: Volume, network: HeadNetwork, window: BrainWindow | None, brain_mask: BoolArray | None
) -> tuple[HeadReading, BoolArray]:
    """The head as it is read, and the brain on the scan's grid (i,j,k)."""
    reading = brain_extraction.read_head(volume if window is None else window.volume, network)
    if brain_mask is not None:
        return replace(reading, brain=resample_mask(brain_mask, volume.grid, reading.grid)), brain_mask
    if window is not None:
        return computed_tomography.without_skull(reading, window)
    return reading, resample_mask(reading.brain, reading.grid, volume.grid)


def _guessed(volume: Volume, image: FloatArray, brain: BoolArray, template: Template) -> str:
    if computed_tomography.is_hounsfield(volume.array):
        return computed_tomography.CT
    return scan_fit.guess_modality(*scan_fit.tissue_ratios(image, brain, template))


def _to_working(volume: Volume, reading: HeadReading, way: WayBack) -> Working:
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
