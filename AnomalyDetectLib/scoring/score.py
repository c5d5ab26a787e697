"""score(): from a healthy version to the maps that findings are made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring import detail
from AnomalyDetectLib.scoring.evidence import ANOMALY, RESIDUAL, SCORE, TISSUE, evidence, fuse, residual
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.scoring.statistics import HealthyStatistics
from AnomalyDetectLib.volume import FloatArray, Volume, resample_labels

STATISTICS = "statistics.safetensors"
IMAGE_SCORES = "image_scores.json"
TOP_SHARE = 0.001  # the image score is the mean |z| of this share of the brain's voxels


@dataclass(frozen=True)
class Scorer:
    """What turns a model's rebuild into z: healthy statistics of each evidence map, and healthy image scores.

    statistics: by evidence name. fused: of the fused standardised maps, so that the result is a z again.
    healthy_image_scores: sorted image scores of held-out healthy scans; empty before calibration.
    """

    statistics: dict[str, HealthyStatistics]
    fused: HealthyStatistics
    healthy_image_scores: tuple[float, ...] = ()

    def combined(self, prepared: Prepared, rebuild: Rebuild) -> FloatArray:
        """The standardised evidence maps fused into one (X,Y,Z)."""
        maps = evidence(prepared, rebuild)
        own = self.of_scan(maps, prepared.brain)
        return fuse({name: one.standardise(maps[name], prepared.brain) for name, one in own.items()})

    def of_scan(self, maps: dict[str, FloatArray], brain: NDArray[np.bool_]) -> dict[str, HealthyStatistics]:
        """The statistics that the scan's evidence maps (X,Y,Z) are compared with, by name.

        Where signed maps are weighed against each other, each is taken in the scan's own spread: on another
        scanner painted anatomy strays more and the restored scan doesn't, and the one that holds shall speak.
        """
        if TISSUE not in self.statistics:
            return self.statistics
        return {
            name: one if name == ANOMALY else one.in_own_spread(maps[name], brain)
            for name, one in self.statistics.items()
        }

    def z(self, prepared: Prepared, rebuild: Rebuild) -> FloatArray:
        """Signed calibrated z on the working grid (X,Y,Z).

        A scan that strays more than healthy ones widens its own scale.
        """
        z = self.fused.standardise(self.combined(prepared, rebuild), prepared.brain)
        return np.asarray(z / self.widening(z, prepared.brain), dtype=np.float32)

    def widening(self, z: FloatArray, brain: NDArray[np.bool_]) -> float:
        """By how much a scan whose fused z (X,Y,Z) strays more than healthy ones do widens its own scale.

        It makes up for another scanner. A score of the model's own is left as it is; an
        ensemble's members have widened theirs already.
        """
        return 1.0 if SCORE in self.statistics else self.fused.widening(z, brain)

    def image_p(self, image_score: float) -> float | None:
        """Share of healthy scans with a score at least as high, (1 + k) / (1 + n); None before
        calibration.
        """
        healthy = np.asarray(self.healthy_image_scores)
        if len(healthy) == 0:
            return None
        return float((1 + (healthy >= image_score).sum()) / (1 + len(healthy)))

    def save(self, statistics: Path, image_scores: Path) -> None:
        """Write the statistics (safetensors) and the image scores (JSON)."""
        tensors = self.fused.tensors("fused")
        for name, one in self.statistics.items():
            tensors |= one.tensors(name)
        save_file(tensors, statistics)
        save_image_scores(self.healthy_image_scores, image_scores)


def save_image_scores(scores: Iterable[float], path: Path) -> None:
    """Write healthy image scores (JSON), sorted."""
    path.write_text(json.dumps([round(one, 4) for one in sorted(scores)]) + "\n")


def load_scorer(statistics: Path, image_scores: Path | None) -> Scorer:
    """Read what `Scorer.save` wrote."""
    tensors = load_file(statistics)
    names = sorted({key.split(".")[0] for key in tensors} - {"fused"})
    scores = tuple(json.loads(image_scores.read_text())) if image_scores is not None else ()
    return Scorer(
        {name: HealthyStatistics.from_tensors(tensors, name) for name in names},
        HealthyStatistics.from_tensors(tensors, "fused"),
        scores,
    )


def image_score(z: FloatArray, brain: NDArray[np.bool_]) -> float:
    """Mean |z| of the most unusual thousandth of the brain (at least ten voxels)."""
    values = np.abs(z[brain])
    count = min(len(values), max(10, int(TOP_SHARE * len(values))))
    if count == 0:
        return 0.0
    return float(np.partition(values, -count)[-count:].mean())


def score(volume: Volume, prepared: Prepared, rebuild: Rebuild, scorer: Scorer) -> AnomalyMaps:
    """Healthy version, residual, z and uncertainty on the scan's own grid, and one number for the whole
    scan.
    """
    z = scorer.z(prepared, rebuild)
    signed = residual(prepared, rebuild)
    box = detail.brain_box(prepared.input_brain, volume.grid)
    way = prepared.to_input.on(box.grid)
    inside = prepared.input_brain[box.slices]
    fine = detail.fine_structure(volume.array[box.slices], prepared, way)
    healthy = detail.healthy_version(volume, prepared, signed, z, fine, box)
    sharp = detail.sharpened(way.to_input(z), fine, prepared, rebuild.expected_sd, way)
    number = image_score(z, prepared.brain)
    template = load_template()
    regions = resample_labels(
        template.regions, template.grid, box.grid, source_from_target=way.working_from_input
    )
    region = np.zeros(volume.array.shape, np.uint8)
    region[box.slices] = regions
    return AnomalyMaps(
        grid=volume.grid,
        brain=prepared.input_brain,
        healthy=healthy,
        residual=volume.array - healthy,
        score=box.expand(np.where(inside, sharp, 0)),
        uncertainty=box.expand(np.where(inside, way.to_input(uncertainty(prepared, rebuild, scorer)), 0)),
        region=region,
        image_score=number,
        image_p=scorer.image_p(number),
    )


def uncertainty(prepared: Prepared, rebuild: Rebuild, scorer: Scorer) -> FloatArray:
    """SD of the rebuild (X,Y,Z) in units of how far healthy voxels stray from painted anatomy, else of the
    healthy residual's SD; 0 where the model gives no variance.

    Of a model without a healthy version it is that of the anomaly's log-odds, or of the score, in units of
    theirs.
    """
    if rebuild.variance is None:
        return np.zeros(prepared.brain.shape, np.float32)
    healthy = next(
        scorer.statistics[name] for name in (RESIDUAL, ANOMALY, SCORE) if name in scorer.statistics
    )
    spread = rebuild.expected_sd if rebuild.expected_sd is not None else healthy.sd
    return np.where(prepared.brain, np.sqrt(np.maximum(rebuild.variance, 0)) / spread, 0).astype(np.float32)
