"""Two sequences of one patient as one score: in each voxel the more unusual of both speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared, WayBack
from AnomalyDetectLib.scoring import detail
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.score import Scorer, image_score, uncertainty
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Volume, resample_mask

FIRST, SECOND = 1, 2  # codes of the map that says which sequence gave the score


@dataclass(frozen=True)
class SecondScore:
    """What a second sequence says, on the first scan's grid (i,j,k).

    score: signed z. uncertainty: z. brain: where the second scan sees brain. image_score, image_p: of the
    second scan alone.
    """

    score: FloatArray
    uncertainty: FloatArray
    brain: BoolArray
    image_score: float
    image_p: float | None


def score_second(
    volume: Volume,
    prepared: Prepared,
    rebuild: Rebuild,
    scorer: Scorer,
    first: AnomalyMaps,
    second_from_first: Affine,
) -> SecondScore:
    """Score a second sequence where the first scan's voxels lie, straight from the working grid: one
    interpolation.

    volume, prepared, rebuild, scorer: of the second. first: the first scan's maps. second_from_first: 4x4,
    RAS mm of the first scan to RAS mm of the second.
    """
    z = scorer.z(prepared, rebuild)
    box = detail.brain_box(first.brain, first.grid)
    brain = np.zeros(first.grid.shape, np.bool_)
    brain[box.slices] = resample_mask(
        prepared.input_brain, prepared.to_input.input, box.grid, source_from_target=second_from_first
    )
    way = WayBack(
        box.grid, prepared.to_input.working, prepared.to_input.working_from_input @ second_from_first
    )
    number = image_score(z, prepared.brain)
    sharp = detail.sharpened_on(way, z, volume, prepared, rebuild.expected_sd, second_from_first)
    return SecondScore(
        score=box.expand(sharp),
        uncertainty=box.expand(way.to_input(uncertainty(prepared, rebuild, scorer))),
        brain=brain & first.brain,
        image_score=number,
        image_p=scorer.image_p(number),
    )


def fused(first: AnomalyMaps, second: SecondScore, names: tuple[str, str]) -> AnomalyMaps:
    """The first scan's maps with score and uncertainty of whichever sequence has the larger |z| in a voxel.

    Both are in z of healthy scans, so they need no weights, and what only one sequence shows isn't watered
    down by the other. Where the second sees no brain, and at a tie, the first speaks. Healthy version and
    residual stay the first's. image_p: twice the smaller of both, the Bonferroni bound. names: for the table.
    """
    by_second = second.brain & (np.abs(second.score) > np.abs(first.score))
    sequence = np.where(first.brain, np.where(by_second, SECOND, FIRST), 0).astype(np.uint8)
    p_values = [p for p in (first.image_p, second.image_p) if p is not None]
    return replace(
        first,
        score=np.where(by_second, second.score, first.score),
        uncertainty=np.where(by_second, second.uncertainty, first.uncertainty),
        image_score=max(first.image_score or 0.0, second.image_score),
        image_p=min(1.0, 2 * min(p_values)) if len(p_values) == 2 else None,
        sequence=sequence,
        sequence_names=names,
    )


def distinct_names(first: str, second: str) -> tuple[str, str]:
    """What the table calls two sequences: their modalities, numbered when they are the same."""
    return (first, second) if first != second else (f"{first} 1", f"{second} 2")
