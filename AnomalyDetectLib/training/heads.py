"""Whole heads of random contrast, pose, resolution and field of view, with intracranial mask, tissue and
coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.prepare.head_network import COORDINATE_SCALE_MM, HEAD_SPACING, scale_head
from AnomalyDetectLib.training import labels, template
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.volume import Affine

CROP = (80, 112, 96)
CANAL_MM = 7.0
RIM = 1  # voxels of 1 mm
HELD_OUT_MAPS = ("training_seg_05", "training_seg_10", "training_seg_16", "training_seg_20")
GREY = (labels.CORTEX, labels.DEEP_GREY, labels.CEREBELLUM_GREY)
FLUID = (labels.CSF, labels.VENTRICLE)
CONTRASTS, CONTRAST_SHARES = ("T1", "T2", "FLAIR", "PD", "free"), (0.2, 0.2, 0.3, 0.1, 0.2)
TISSUE_TO_TARGET = torch.tensor([1 if t in GREY else 0 if t in (0, *FLUID) else 2 for t in range(9)])


@dataclass(frozen=True)
class RealHead:
    """A T1 scan at 2 mm: `scan` scaled to about 0-1, `tissue` class numbers, intracranial `mask`, all
    (X,Y,Z).
    """

    scan: Tensor
    tissue: Tensor
    mask: Tensor
    template_from_index: Affine


@dataclass(frozen=True)
class LabelHead:
    """A label map at 1 mm: `codes` index into `tissue` and into a table of random intensities."""

    codes: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    head: NDArray[np.bool_]
    tissue_2mm: Tensor
    mask: Tensor
    template_from_index: Affine


@dataclass(frozen=True)
class HeadSample:
    """Network input (1,X,Y,Z), mask (1,X,Y,Z), tissue 0-2 (X,Y,Z), coordinates (3,X,Y,Z) in units of 100
    mm.
    """

    image: Tensor
    mask: Tensor
    tissue: Tensor
    coordinates: Tensor


def intracranial_mask(regions: NDArray[np.integer], spacing_mm: float) -> NDArray[np.bool_]:
    """Intracranial mask from labelled voxels: slightly closed, holes filled."""
    radius = max(1, round(4.0 / spacing_mm))
    padded = np.pad(regions > 0, radius + 1)
    closed = ndimage.binary_closing(padded, ndimage.generate_binary_structure(3, 1), iterations=radius)
    inner = tuple(slice(radius + 1, -(radius + 1)) for _ in range(3))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(closed)[inner]
    return filled


def label_map_mask(tissue: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Intracranial mask of a 1-mm tissue map: brain, all fluid above the brain's lowest voxel, and the rim.

    Below the cerebellum fluid counts only near the brain stem, so that the spinal canal is left out. DLMUSE,
    the mask of the real scans, reaches the inner table, about a voxel of 1 mm beyond the maps' fluid: the rim
    gives both kinds of heads one convention.
    """
    solid = tissue >= labels.VENTRICLE
    lowest = int(np.argwhere(solid)[:, 2].min())
    cerebellum = int(
        np.argwhere(np.isin(tissue, (labels.CEREBELLUM_GREY, labels.CEREBELLUM_WHITE)))[:, 2].min()
    )
    kept = tissue.copy()
    kept[:, :, :lowest] = 0
    low = slice(lowest, max(lowest, cerebellum))
    near = (
        ndimage.distance_transform_edt(~solid[:, :, low]) <= CANAL_MM
        if cerebellum > lowest
        else solid[:, :, low]
    )
    kept[:, :, low] = np.where(near, kept[:, :, low], 0)
    inside: NDArray[np.bool_] = ndimage.binary_dilation(intracranial_mask(kept, 1.0), iterations=RIM)
    inside[:, :, :lowest] = False
    return inside


def load_real_heads(data: Path, affines: Mapping[str, Affine], split: str) -> list[RealHead]:
    """All IXI heads of one split whose affine is known."""
    heads = []
    for subject in template.ixi_subjects(data, split):
        if subject.name not in affines:
            continue
        array, regions, grid = subject.read()
        heads.append(
            RealHead(
                scan=torch.from_numpy(array / np.percentile(array, 99.5)).half(),
                tissue=torch.from_numpy(labels.MUSE_TISSUE[regions]),
                mask=torch.from_numpy(intracranial_mask(regions, HEAD_SPACING)),
                template_from_index=affines[subject.name] @ grid.affine,
            )
        )
    return heads


def load_label_heads(data: Path, affines: Mapping[str, Affine] | None, held_out: bool) -> list[LabelHead]:
    """The 1-mm label maps, either those for training or those held out.

    affines: from each map's space to the template's, by name; None: they stay in their own.
    """
    heads = []
    for name, array, grid in template.head_label_maps(data):
        if (name in HELD_OUT_MAPS) != held_out:
            continue
        numbers, codes = np.unique(array, return_inverse=True)
        tissue = labels.FREESURFER_TISSUE[numbers]
        dense = tissue[codes.reshape(array.shape)]
        mask = label_map_mask(dense)
        step = np.diag([2.0, 2.0, 2.0, 1.0])
        step[:3, 3] = 0.5
        crop = tuple(slice(0, n // 2 * 2) for n in array.shape)
        half = torch.from_numpy(mask[crop].astype(np.float32))
        heads.append(
            LabelHead(
                codes=codes.reshape(array.shape)[crop].astype(np.uint8),
                tissue=tissue,
                head=numbers > 0,
                tissue_2mm=torch.from_numpy(np.ascontiguousarray(dense[crop][::2, ::2, ::2])),
                mask=functional.avg_pool3d(half[None, None], 2)[0, 0] > 0.5,
                template_from_index=(np.eye(4) if affines is None else affines[name]) @ grid.affine @ step,
            )
        )
    return heads


def tissue_means(rng: np.random.Generator, contrast: str | None = None) -> NDArray[np.float32]:
    """Random mean intensity of the nine tissue classes: T1-, T2-, FLAIR- or PD-like, or of any kind.

    In units of white matter, real scans at 2 mm have fluid .44 and cortex .70 (20 IXI T1), .40 and .66 (T1 of
    12 glioma patients outside of the lesions), .53 and .86 (their FLAIR); with partial volume these priors
    give about that. T2 and PD are from textbooks: there was no real scan to measure.
    """
    u = rng.uniform
    kind = contrast or str(rng.choice(CONTRASTS, p=CONTRAST_SHARES))
    if kind == "T1":  # fluid < grey < white
        fluid, white = u(0.05, 0.3), u(0.6, 1.0)
        grey = fluid + u(0.45, 0.8) * (white - fluid)
    elif kind == "T2":  # white < grey < fluid
        fluid, white = u(0.7, 1.1), u(0.2, 0.45)
        grey = white + u(0.15, 0.45) * (fluid - white)
    elif kind == "FLAIR":  # fluid dark, grey and white alike
        fluid, white = u(0.05, 0.35), u(0.4, 0.75)
        grey = white + u(-0.1, 0.12)
    elif kind == "PD":
        fluid, white = u(0.4, 1.0), u(0.45, 0.7)
        grey = white + u(0.05, 0.25)
    else:
        fluid, grey, white = u(0, 1, 3)
    jitter = rng.normal(0, 0.03, 9)
    means = np.array([0.0, fluid, fluid, grey, white, (grey + white) / 2, grey, white, white]) + jitter
    if rng.random() < 0.3:
        means[labels.VENTRICLE] = fluid + u(-0.1, 0.1)
    return np.clip(means, 0, 1.3).astype(np.float32)


def paint_labels(rng: np.random.Generator, head: LabelHead, contrast: str | None = None) -> Tensor:
    """A scan of random contrast, or one like `contrast`, at 2 mm from a 1-mm label map, partial volume
    included.
    """
    means = tissue_means(rng, contrast)[head.tissue] + rng.normal(0, 0.02, len(head.tissue)).astype(
        np.float32
    )
    outside = (head.tissue == 0) & head.head
    means[outside] = rng.uniform(0, 1, int(outside.sum()))
    spread = rng.uniform(0.0, 0.08, len(means)).astype(np.float32)
    means[~head.head], spread[~head.head] = (rng.uniform(0, 0.3) if rng.random() < 0.1 else 0.0), 0.01
    image = torch.from_numpy(means.astype(np.float32)[head.codes])
    image = functional.avg_pool3d(image[None, None], 2)[0, 0]
    texture = torch.from_numpy(spread[head.codes[::2, ::2, ::2]])
    shape = (image.shape[0], image.shape[1], image.shape[2])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
    knots = (max(4, shape[0] // 4), max(4, shape[1] // 4), max(4, shape[2] // 4))
    coarse = fields.smooth_noise(rng, shape, knots, 1.0)
    return (image + texture * (0.6 * noise + coarse)).clamp(min=0)


def class_means(image: Tensor, classes: Tensor) -> Tensor:
    """Mean intensity of each tissue class (9,) of an image (X,Y,Z); 0 where a class doesn't occur."""
    count = len(labels.TISSUE_NAMES)
    total = torch.zeros(count).index_add_(0, classes.ravel(), image.ravel())
    voxels: Tensor = torch.bincount(classes.ravel(), minlength=count).clamp(min=1)
    return total / voxels


def recolour(rng: np.random.Generator, head: RealHead, difficulty: float) -> Tensor:
    """A real T1 head in another contrast: its own, with the brain repainted by tissue, or through a random
    curve.
    """
    scan = head.scan.float().clamp(0, 1.5)
    choice = rng.random() / max(difficulty, 0.1)
    if choice > 0.65:
        return scan ** rng.uniform(0.6, 1.5)
    knots = np.r_[0.0, rng.uniform(0, 1, 7)]
    if rng.random() < 0.5:  # keep the air dark and the curve calm
        knots[1] *= 0.5
        knots[1:] = np.convolve(np.r_[knots[1], knots[1:], knots[-1]], [0.25, 0.5, 0.25], "valid")
    position = scan * (len(knots) - 1) / 1.2
    low = position.long().clamp(max=len(knots) - 2)
    curve = torch.tensor(knots, dtype=torch.float32)
    image = curve[low] + (position - low) * (curve[low + 1] - curve[low])
    if choice < 0.35:
        tissue = head.tissue.long()
        inside = tissue > 0
        own = class_means(scan, tissue)
        painted = torch.from_numpy(tissue_means(rng))
        a = fields.blur(torch.stack([painted, own])[:, tissue][0], 0.5)
        b = fields.blur(own[tissue], 0.5)
        image = torch.where(inside, a + rng.uniform(-0.5, 0.6) * (scan - b), image)
    return image.clamp(min=0)


def _pose(rng: np.random.Generator, template_from_index: Affine, difficulty: float) -> tuple[Affine, Affine]:
    """Index map from the crop to the source, and the template-from-crop affine, both for the same random
    pose.
    """
    rotation = fields.random_rotation(rng, (22.0 if rng.random() < 0.5 else 8.0) * max(0.3, difficulty))
    scale = np.exp(rng.normal(0, 0.08)) * np.exp(rng.normal(0, 0.05, 3))
    linear = rotation @ np.diag(scale) @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    mirrored = bool(rng.random() < 0.5)
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0, 1.0])
    brain_centre = np.linalg.inv(template_from_index)[:3, 3]
    jitter = rng.uniform(-1, 1, 3) * np.array([8, 12, 14])
    index_map = np.eye(4)
    index_map[:3, :3] = linear
    index_map[:3, 3] = brain_centre - linear @ ((np.array(CROP) - 1) / 2 + jitter + [0, 0, 5])
    target = template_from_index @ index_map
    if mirrored:
        target = np.diag([-1.0, 1, 1, 1]) @ target
    return index_map, target


def _degrade(rng: np.random.Generator, image: Tensor, mask: Tensor, difficulty: float) -> Tensor:
    """Lesions, bias, slice thickness, blur, noise, cut fields of view, stripping and defacing, each
    sometimes.
    """
    if rng.random() > difficulty:
        return image
    if rng.random() < 0.35:
        image = _blob(rng, image, mask)
    if rng.random() < 0.8:
        image = image * fields.bias_field(rng, CROP, rng.uniform(0.02, 0.3))
    if rng.random() < 0.45:
        image = fields.thick_slices(
            image, rng.uniform(1.5, 3.6), int(rng.choice([2, 2, 2, 1, 0])), rng.random()
        )
    elif rng.random() < 0.5:
        image = fields.blur(image, rng.uniform(0.3, 1.0))
    if rng.random() < 0.7:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        sigma = rng.uniform(0.0, 0.06)
        noise = torch.randn((2, *CROP), generator=generator) * sigma
        image = torch.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    cut = rng.random()
    if cut < 0.12:
        image = image * mask  # already stripped
    elif cut < 0.2:
        near = functional.max_pool3d(mask.float()[None, None], 5, 1, 2)[0, 0]
        image = image * near  # stripped with a rim left
    elif cut < 0.5:
        for axis, sides in ((2, (0, 1)), (1, (0, 1)), (0, (0, 1))):
            for side in sides:
                if rng.random() < 0.3:
                    depth = int(rng.integers(1, 26 if axis == 2 else 12))
                    part = slice(0, depth) if side == 0 else slice(CROP[axis] - depth, None)
                    image.movedim(axis, 0)[part] = 0
    if rng.random() < 0.15:  # defaced: a box in front of and below the frontal lobe
        reach = mask.nonzero()
        if len(reach):
            front, bottom = int(reach[:, 1].max()), int(reach[:, 2].min())
            box = image[:, front - int(rng.integers(0, 25)) :, : bottom + int(rng.integers(5, 18))]
            box *= mask[:, -box.shape[1] :, : box.shape[2]]
    if rng.random() < 0.06:
        image = image + rng.uniform(0.1, 0.5)  # signed or offset scans have a grey background
    return image


def _blob(rng: np.random.Generator, image: Tensor, mask: Tensor) -> Tensor:
    """One large soft lesion somewhere in the brain, of any brightness."""
    points = mask.nonzero()
    if len(points) == 0:
        return image
    centre = points[int(rng.integers(len(points)))].float()
    radius = rng.uniform(3, 16)
    axes = [
        (torch.arange(n) - c) / (radius * rng.uniform(0.6, 1.5)) for n, c in zip(CROP, centre, strict=True)
    ]
    distance = (axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None] ** 2).sqrt()
    distance = distance + fields.smooth_noise(rng, CROP, (10, 12, 10), 0.25)
    weight = torch.sigmoid((1 - distance) * rng.uniform(4, 20)) * mask
    colour = rng.uniform(0, 1.2) + fields.smooth_noise(rng, CROP, (14, 16, 14), rng.uniform(0, 0.25))
    return image * (1 - weight) + weight * colour.clamp(min=0)


def random_head(
    rng: np.random.Generator, real: list[RealHead], painted: list[LabelHead], difficulty: float = 1.0
) -> HeadSample:
    """One training sample: a random subject of either kind in a random contrast, pose and quality.

    difficulty: 0-1; low: mostly upright T1 scans of good quality, which is where training starts.
    """
    if not painted or rng.random() < 1 - 0.5 * difficulty:
        head: RealHead | LabelHead = real[int(rng.integers(len(real)))]
        assert isinstance(head, RealHead)
        image, tissue = recolour(rng, head, difficulty), head.tissue
    else:
        head = painted[int(rng.integers(len(painted)))]
        image, tissue = paint_labels(rng, head), head.tissue_2mm
    index_map, target = _pose(rng, head.template_from_index, difficulty)
    displacement = None
    if rng.random() < 0.5:
        displacement = torch.stack(
            [fields.smooth_noise(rng, CROP, (5, 6, 5), rng.uniform(0.2, 1.2)) for _ in range(3)]
        )
    image = fields.sample_affine(image[None], index_map, CROP, displacement)[0]
    flags = torch.stack([head.mask.float(), tissue.float()])
    flags = fields.sample_affine(flags, index_map, CROP, displacement, mode="nearest")
    mask = flags[0] > 0.5
    image = _degrade(rng, image, mask, difficulty)
    axes = [torch.arange(n, dtype=torch.float32) for n in CROP]
    linear = torch.from_numpy(target / COORDINATE_SCALE_MM).float()
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    coordinates = torch.stack([a * x + b * y + c * z + d for a, b, c, d in linear[:3].tolist()])
    return HeadSample(
        image=scale_head(image)[None],
        mask=mask[None],
        tissue=TISSUE_TO_TARGET[flags[1].long()],
        coordinates=coordinates,
    )
