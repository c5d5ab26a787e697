"""benchmark preparation: brain masks, alignment and intensity scaling on real scans, with pictures of every
mask.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from AnomalyDetectLib.evaluation.metrics import bootstrap
from AnomalyDetectLib.io.read import read_volume
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare import alignment
from AnomalyDetectLib.prepare.brain_extraction import HeadReading, read_head
from AnomalyDetectLib.prepare.head_network import HEAD_SPACING, HeadNetwork
from AnomalyDetectLib.prepare.prepare import prepare
from AnomalyDetectLib.prepare.prepared import WayBack
from AnomalyDetectLib.prepare.template import Template, load_template
from AnomalyDetectLib.training import heads, template
from AnomalyDetectLib.training.affines import apply_affine
from AnomalyDetectLib.training.random_fields import thick_slices
from AnomalyDetectLib.training.slice_data import glioma_patients
from AnomalyDetectLib.volume import Affine, BoolArray, Grid, Volume, dice, resample, resample_mask

CONTRASTS = 8
LESION_ML = 150.0
POINTS = 400


def run(data: Path, out: Path, limit: int | None, console: Console) -> dict[str, object]:
    """Measure, print and write preparation.json and masks_*.png; return the figures."""
    out.mkdir(parents=True, exist_ok=True)
    network, shipped = load_head_network(), load_template()
    figures: dict[str, object] = {}
    figures |= validation_masks(data, network, limit)
    figures |= label_map_masks(data, network, limit)
    figures |= lesions_kept(data, network, shipped, out, limit)
    figures |= poses(data, network)
    figures |= registrations(data, network, shipped, limit)
    figures |= scale_under_lesion(data, network, limit)
    table = Table("figure", "value", title="Preparation")
    for name, value in figures.items():
        table.add_row(
            name, ", ".join(f"{v:.3f}" for v in value) if isinstance(value, tuple) else f"{value:.3f}"
        )
    console.print(table)
    (out / "preparation.json").write_text(json.dumps(figures, indent=1))
    return figures


def on_grid(reading: HeadReading, grid: Grid) -> BoolArray:
    """The mask of a reading on another grid in the same space."""
    return resample_mask(reading.brain, reading.grid, grid)


def validation_masks(data: Path, network: HeadNetwork, limit: int | None) -> dict[str, object]:
    """Dice of the mask on held-out IXI scans, and seconds a scan."""
    scores, seconds = [], []
    for subject in template.ixi_subjects(data, "val")[:limit]:
        array, regions, grid = subject.read()
        began = time.perf_counter()
        reading = read_head(Volume(array, grid.affine), network)
        seconds.append(time.perf_counter() - began)
        scores.append(dice(on_grid(reading, grid), heads.intracranial_mask(regions, HEAD_SPACING)))
    return {
        "mask Dice, IXI val (mean, 95 %)": bootstrap(scores),
        "mask Dice, IXI val, lowest": min(scores),
        "mask seconds (median)": float(np.median(seconds)),
    }


def label_map_masks(data: Path, network: HeadNetwork, limit: int | None) -> dict[str, object]:
    """Dice on held-out label maps painted in random contrasts, every other one in thick slices."""
    scores = []
    for head in heads.load_label_heads(data, None, held_out=True)[:limit]:
        for number in range(CONTRASTS):
            rng = np.random.default_rng([5, number])
            image = heads.paint_labels(rng, head)
            if number % 2:
                image = thick_slices(image, rng.uniform(2, 3.5), 2)
            affine = np.diag([2.0, 2.0, 2.0, 1.0])
            reading = read_head(Volume(image.numpy(), affine), network)
            scores.append(
                dice(
                    on_grid(reading, Grid((image.shape[0], image.shape[1], image.shape[2]), affine)),
                    head.mask.numpy(),
                )
            )
    low = float(np.percentile(scores, 5))
    return {"mask Dice, painted label maps (mean, 95 %)": bootstrap(scores), "5th percentile": low}


def lesions_kept(
    data: Path, network: HeadNetwork, shipped: Template, out: Path, limit: int | None
) -> dict[str, object]:
    """Share of the drawn lesions inside the mask; a picture of every mask."""
    figures: dict[str, object] = {}
    sets = {
        "glioma FLAIR": [folder / "flair.nii.gz" for folder in glioma_patients(data)][:limit],
        "MS FLAIR": sorted((data / "ms_isbi_dev").glob("*/flair.nii.gz"))[:limit],
        "external T1": sorted((data / "healthy_external_t1").glob("*.nii.gz"))[:limit],
    }
    for name, paths in sets.items():
        kept, overlaps, pictures = [], [], []
        for path in paths:
            volume = read_volume(path)
            reading = read_head(volume, network)
            overlaps.append(alignment.align(reading, shipped).overlap)
            pictures.append((path.parent.name if name != "external T1" else path.name[:6], reading))
            drawn = next(
                (
                    path.with_name(n)
                    for n in ("mask.nii.gz", "mask_rater1.nii.gz")
                    if path.with_name(n).exists()
                ),
                None,
            )
            if drawn is not None:
                lesion = np.asarray(nib.load(drawn).dataobj) > 0
                kept.append(float(on_grid(reading, volume.grid)[lesion].mean()))
        mosaic(pictures, out / f"masks_{name.replace(' ', '_')}.png")
        figures[f"overlap with the template, {name}, lowest"] = min(overlaps)
        if kept:
            figures[f"lesion kept, {name} (median, lowest)"] = (float(np.median(kept)), min(kept))
    return figures


def mosaic(readings: list[tuple[str, HeadReading]], path: Path, columns: int = 6) -> None:
    """Axial low, axial high and sagittal slice of every head with its mask's outline."""
    rows = -(-len(readings) // columns)
    figure = Figure(figsize=(columns * 4.2, rows * 1.9), dpi=70)
    FigureCanvasAgg(figure)
    for number, (name, reading) in enumerate(readings):
        where = np.argwhere(reading.brain)
        low, high, middle = where.min(0), where.max(0), where.mean(0).astype(int)
        cuts = (
            (2, int(low[2] + 0.3 * (high[2] - low[2]))),
            (2, int(low[2] + 0.55 * (high[2] - low[2]))),
            (0, int(middle[0]) - 4),
        )
        for k, (axis, at) in enumerate(cuts):
            axes = figure.add_subplot(rows, columns * 3, number * 3 + k + 1)
            top = float(np.percentile(reading.image[reading.brain], 99.5))
            axes.imshow(reading.image.take(at, axis).T, origin="lower", cmap="gray", vmax=top)
            axes.contour(reading.brain.take(at, axis).T, [0.5], colors="red", linewidths=0.6)
            axes.axis("off")
            if k == 0:
                axes.set_title(name[-18:], fontsize=6)
    figure.subplots_adjust(0, 0, 1, 0.98, 0.01, 0.08)
    figure.savefig(path)


def posed(volume: Volume) -> Iterator[tuple[str, Volume, Affine]]:
    """The same head in other grids and poses, and the map from its own space to the new one."""
    yield "flipped to LPI", flipped(volume, (0, 2)), np.eye(4)
    yield "left-handed affine", flipped(volume, (1,)), np.eye(4)
    for axis, name in enumerate(("pitch", "roll", "yaw")):
        turn = np.eye(4)
        a, b = [k for k in range(3) if k != axis]
        angle = np.deg2rad(15)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        yield f"15° {name}", Volume(volume.array, turn @ volume.affine, name=volume.name), turn
    thick = Grid(
        (
            volume.array.shape[0],
            volume.array.shape[1],
            int(volume.array.shape[2] * volume.grid.spacing[2] // 6),
        ),
        volume.affine @ np.diag([1, 1, 6 / volume.grid.spacing[2], 1]),
    )
    yield (
        "6-mm slices",
        Volume(np.asarray(resample(volume.array, volume.grid, thick)), thick.affine),
        np.eye(4),
    )


def flipped(volume: Volume, axes: tuple[int, ...]) -> Volume:
    """The same head with some storage axes reversed, its place in space unchanged."""
    affine = volume.affine.copy()
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (volume.array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.flip(volume.array, axes).copy(), affine, name=volume.name)


def poses(data: Path, network: HeadNetwork) -> dict[str, object]:
    """Dice of the template-space brain masks of a head in other poses with that of the head as it is."""
    volume = read_volume(template.ixi_subjects(data, "val")[3].scan)
    own = prepare(volume, network)
    figures: dict[str, object] = {}
    for name, other, moved in posed(volume):
        found = prepare(other, network)
        way = WayBack(volume.grid, found.to_input.working, found.to_input.working_from_input @ moved)
        back = way.to_input(found.brain.astype(np.float32)) > 0.5
        figures[f"same brain, {name} (Dice)"] = dice(
            back, own.to_input.to_input(own.brain.astype(np.float32)) > 0.5
        )
    return figures


def registrations(
    data: Path, network: HeadNetwork, shipped: Template, limit: int | None
) -> dict[str, object]:
    """Distance in mm to the affine of the label centroids, ours and SimpleITK's, and seconds of each."""
    subjects = template.ixi_subjects(data, "val")[:limit]
    truth = template.build_affines(data)
    target = sitk.GetImageFromArray(shipped.tissue[2] + 0.7 * shipped.tissue[1] + 0.2 * shipped.tissue[0])
    ours, itk, seconds, itk_seconds = [], [], [], []
    for subject in subjects:
        array, regions, grid = subject.read()
        reading = read_head(Volume(array, grid.affine), network)
        began = time.perf_counter()
        found = alignment.align(reading, shipped).template_from_input
        seconds.append(time.perf_counter() - began)
        inside = np.argwhere(regions > 0)
        points = inside[:: max(1, len(inside) // POINTS)] @ grid.affine[:3, :3].T + grid.affine[:3, 3]

        def distance(affine: Affine, points: NDArray[np.float64] = points, name: str = subject.name) -> float:
            gap = apply_affine(affine, points) - apply_affine(truth[name], points)
            return float(np.linalg.norm(gap, axis=1).mean())

        ours.append(distance(found))
        began = time.perf_counter()
        itk.append(distance(simple_itk_affine(reading, target, shipped.grid)))
        itk_seconds.append(time.perf_counter() - began)
    return {
        "alignment error mm (mean, 95 %)": bootstrap(ours),
        "alignment error mm, SimpleITK": bootstrap(itk),
        "alignment seconds (median)": float(np.median(seconds)),
        "alignment seconds, SimpleITK": float(np.median(itk_seconds)),
    }


def simple_itk_affine(reading: HeadReading, target: sitk.Image, grid: Grid) -> Affine:
    """Affine by SimpleITK: Mattes mutual information of the extracted brain with a T1-like template, three
    levels.
    """
    moving = sitk.GetImageFromArray(np.where(reading.brain, reading.image, 0).astype(np.float32))
    for image, affine in ((target, grid.affine), (moving, reading.grid.affine)):
        image.SetSpacing([2.0] * 3)
        image.SetOrigin([float(v) for v in affine[:3, 3][::-1]])
    start = sitk.CenteredTransformInitializer(
        target, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SetInitialTransform(start, inPlace=True)
    found = method.Execute(target, moving)
    pulled = np.array(
        [found.TransformPoint([float(c) for c in p]) for p in np.vstack([np.zeros(3), np.eye(3)])]
    )
    back = np.eye(4)  # template (z, y, x) to head (z, y, x)
    back[:3, :3], back[:3, 3] = (pulled[1:] - pulled[0]).T, pulled[0]
    swap = np.eye(4)[[2, 1, 0, 3]]
    return np.asarray(np.linalg.inv(swap @ back @ swap))


def scale_under_lesion(data: Path, network: HeadNetwork, limit: int | None) -> dict[str, object]:
    """How far scale and contrast exponent move when a bright lesion of 150 ml is put in, in per cent."""
    scales, exponents = [], []
    for subject in template.ixi_subjects(data, "val")[: min(limit or 6, 6)]:
        volume = read_volume(subject.scan)
        own = prepare(volume, network)
        centre = np.argwhere(own.input_brain).mean(0) + np.array([12.0, 0, 4])
        distance = (
            np.linalg.norm(np.indices(volume.array.shape).T - centre, axis=-1).T * volume.grid.spacing[0]
        )
        radius = (3 * LESION_ML * 1000 / (4 * np.pi)) ** (1 / 3)
        bright = np.where((distance < radius) & own.input_brain, 1.8 * own.scale, volume.array)
        ill = prepare(volume.with_array(bright.astype(np.float32)), network)
        scales.append(abs(ill.scale / own.scale - 1) * 100)
        exponents.append(abs(ill.exponent / own.exponent - 1) * 100)
    return {
        "scale moved by a 150-ml lesion, % (largest)": max(scales),
        "contrast exponent moved by a 150-ml lesion, % (largest)": max(exponents),
    }
