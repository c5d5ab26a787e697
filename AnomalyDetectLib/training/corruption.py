"""Synthetic lesions that restoration models learn to take out: many shapes, contrasts and sizes, one
severity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.labels import CSF, VENTRICLE, WHITE

Box = tuple[slice, slice, slice]
FAINTEST = 0.04  # working units: about the noise of a good scan
LARGE_SHARE, LARGE = 0.25, (7.0, 17.0)  # one large lesion alone: radius in voxels of 2 mm
MIXED_SHARE = 0.5  # of the large ones
PLAIN = 0.35  # what an easy lesion has at least
BOTH_SIDES = 0.25  # of the lesions: asymmetry alone must not give one away
RIM, CORE = (0.15, 0.9), (0.1, 0.8)  # of an enhancing lesion, against the tissue there, T1 units
RIM_VOXELS = (0.8, 3.5)
BRIGHT_RIMS = 0.75  # of these; else dark around bright


@dataclass(frozen=True)
class Corrupted:
    """A scan with lesions: `image` (X,Y,Z), working units, and `weight` (X,Y,Z), 0-1, where and how much."""

    image: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Shape:
    """A soft irregular ellipsoid: `box` in the volume, `distance` inside it (1 at the border), `softness` of
    the edge.
    """

    box: Box
    distance: Tensor
    softness: float

    def weight(self, inner: float = 1.0) -> Tensor:
        """1 inside, 0 outside, 0.5 where the distance is `inner`."""
        return torch.sigmoid((inner - self.distance) / self.softness)


def random_shape(rng: np.random.Generator, centre: np.ndarray, radius: float, size: torch.Size) -> Shape:
    """A turned ellipsoid of about `radius` voxels around `centre`, its border roughened, sharp or
    infiltrating. A centre outside the volume is moved to its face.
    """
    centre = np.clip(centre, 0, np.array(size) - 1)
    radii = radius * np.exp(rng.normal(0, 0.22, 3))
    reach = np.ceil(radii.max() * 1.8).astype(int) + 2
    low = np.maximum(centre.astype(int) - reach, 0)
    high = np.minimum(centre.astype(int) + reach + 1, np.array(size))
    box: Box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))  # type: ignore[assignment]
    turn = torch.from_numpy((fields.random_rotation(rng, 90) / radii[None]).astype(np.float32))
    axes = [torch.arange(a, b, dtype=torch.float32) - c for a, b, c in zip(low, high, centre, strict=True)]
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    distance = torch.zeros(tuple(int(b - a) for a, b in zip(low, high, strict=True)))
    for column in range(3):
        distance += (x * turn[0, column] + y * turn[1, column] + z * turn[2, column]) ** 2
    distance = distance.sqrt()
    inside = (distance.shape[0], distance.shape[1], distance.shape[2])
    if radius > 1.8:
        distance = distance + fields.smooth_noise(rng, inside, (5, 5, 5), rng.uniform(0.03, 0.3))
        if radius > 4 and rng.random() < 0.5:  # fingers
            distance = distance + fields.smooth_noise(rng, inside, (10, 10, 10), rng.uniform(0.05, 0.25))
    softness = (
        float(np.exp(rng.uniform(np.log(0.03), np.log(0.35)))) if radius > 1.8 else 0.35 / max(radius, 0.7)
    )
    return Shape(box, distance, softness)


@dataclass(frozen=True)
class Palette:
    """How strong lesions are in a scan's contrast: `contrast`, 1 for T1, scales every change of intensity;
    `fluid` is the range of a cyst's intensity; `brightest` clips. Working units.
    """

    contrast: float = 1.0
    fluid: tuple[float, float] = (0.15, 0.45)
    brightest: float = 2.0


T1 = Palette()


def _amplitude(rng: np.random.Generator, severity: float, difficulty: float = 1.0) -> float:
    """Signed intensity change of a T1 scan in working units, faint to strong, dark as often as bright."""
    faintest = PLAIN * (FAINTEST / PLAIN) ** difficulty
    strongest = max(2 * faintest, 0.9 * severity)
    return float(np.exp(rng.uniform(np.log(faintest), np.log(strongest))) * rng.choice([-1.0, 1.0]))


def _paint(
    rng: np.random.Generator,
    image: Tensor,
    clean: Tensor,
    shape: Shape,
    severity: float,
    radius: float,
    difficulty: float,
    palette: Palette,
) -> Tensor:
    """The lesion's own appearance inside its box: what replaces `image` there, before the brain mask is
    applied.
    """
    weight = shape.weight()
    here, size = image[shape.box], (weight.shape[0], weight.shape[1], weight.shape[2])
    amplitude = palette.contrast * _amplitude(rng, severity, difficulty)
    kind = rng.random()
    if kind < 0.34:  # the tissue's own texture, shifted
        wave = 1 + fields.smooth_noise(rng, size, (4, 4, 4), rng.uniform(0, 0.3))
        return here + weight * amplitude * wave
    inside = float((clean[shape.box] * weight).sum() / weight.sum().clamp(min=1e-3))
    colour = (
        inside + amplitude + fields.smooth_noise(rng, size, (6, 6, 6), rng.uniform(0, 0.1) * palette.contrast)
    )
    blend = weight * rng.uniform(0.5, 1.0)
    if kind < 0.54 or radius < 3:  # homogeneous, its texture gone
        return here * (1 - blend) + blend * colour
    if kind < 0.67:
        return _enhancing(rng, here, colour - amplitude, shape, radius, palette)
    if kind < 0.8:  # ring, core and halo
        core = shape.weight(rng.uniform(0.35, 0.8))
        halo = torch.sigmoid((rng.uniform(1.2, 1.6) - shape.distance) / (shape.softness + 0.1))
        out = here + halo * palette.contrast * _amplitude(rng, severity * 0.5)
        out = out * (1 - weight) + weight * colour
        return out * (1 - core) + core * (inside + palette.contrast * _amplitude(rng, severity))
    if kind < 0.9:  # fluid, sharply bounded
        edge = torch.sigmoid((1 - shape.distance) / 0.06)
        return here * (1 - edge) + edge * rng.uniform(*palette.fluid)
    shift = [int(s) for s in rng.integers(-18, 19, 3)]  # tissue from elsewhere
    foreign = torch.roll(clean, shift, (0, 1, 2))[shape.box]
    return here * (1 - blend) + blend * (foreign + 0.3 * amplitude)


def _enhancing(
    rng: np.random.Generator, here: Tensor, tissue: Tensor, shape: Shape, radius: float, palette: Palette
) -> Tensor:
    """A rim around a core of the other sign, both strong, as contrast agent, haemorrhage and necrosis make
    them; between white matter and fluid in colour they would pass for a gyrus.

    here: what is in the box. tissue: the healthy tissue's colour there, both (x,y,z) of the box.
    """
    rim, core = rng.uniform(*RIM), rng.uniform(*CORE)
    side = palette.contrast * (1 if rng.random() < BRIGHT_RIMS else -1)
    thickness = float(np.clip(rng.uniform(*RIM_VOXELS) / radius, 0.15, 0.65))
    sharp = replace(shape, softness=min(shape.softness, 0.25 * thickness))  # else the rim is blurred away
    weight, inner = sharp.weight(), sharp.weight(1 - thickness)
    out = here * (1 - weight) + weight * (tissue + side * rim)
    return out * (1 - inner) + inner * (tissue.mean() - side * core)


def _centres(rng: np.random.Generator, brain: Tensor, tissue: Tensor, count: int, spots: bool) -> np.ndarray:
    """Where lesions are put: (count,3) voxels; small spots mostly in white matter and by the ventricles."""
    region = brain
    if spots and rng.random() < 0.75:
        region = tissue == WHITE
        if rng.random() < 0.5:
            near = functional.max_pool3d((tissue == VENTRICLE).float()[None, None], 7, 1, 3)[0, 0] > 0
            if bool((region & near).any()):
                region = region & near
    elif rng.random() < 0.7:
        region = brain & (tissue != CSF) & (tissue != VENTRICLE)
    points = region.nonzero() if bool(region.any()) else brain.nonzero()
    return points[torch.from_numpy(rng.integers(0, len(points), count))].numpy().astype(float)


def corrupt(
    rng: np.random.Generator,
    clean: Tensor,
    brain: Tensor,
    tissue: Tensor,
    severity: float,
    difficulty: float = 1.0,
    palette: Palette = T1,
) -> Corrupted:
    """Paint random lesions onto `clean` (X,Y,Z); one volume in fourteen stays healthy.

    severity: 0-1, the strongest contrast that occurs. difficulty: 0-1; low: large plain lesions, which is
    where training starts, since faint small ones alone teach a new network nothing. Lesions: one to three of
    0.1-100 ml, or three to twenty spots of 0.01-0.5 ml, each with its own contrast, some mirrored to the
    other side, some with mass effect, some as coarse noise. palette: how strong they are in this contrast.
    """
    image, weight = clean.clone(), torch.zeros_like(clean)
    if rng.random() < 0.07:
        return Corrupted(image, weight)
    if rng.random() < 0.06 * difficulty:
        return _coarse_noise(rng, clean, brain, severity, palette)
    spots = rng.random() < 0.35 * difficulty
    count = int(rng.integers(3, 20)) if spots else int(rng.integers(1, 4))
    large = not spots and rng.random() < LARGE_SHARE
    count = 1 if large else count
    bulge: tuple[np.ndarray, float] | None = None
    for centre in _centres(rng, brain, tissue, count, spots):
        # radii in voxels of 2 mm: spots 0.01-0.5 ml, lesions 0.1-100 ml, small ones more often
        low, high = (0.7, 2.4) if spots else LARGE if large else (1.4 + 3 * (1 - difficulty), 14.0)
        radius = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        places = [centre]
        if rng.random() < BOTH_SIDES:
            places.append(np.array([clean.shape[0] - 1 - centre[0], centre[1], centre[2]]))
        for place in places:
            for part, size in _parts(rng, place, radius, large):
                shape = random_shape(rng, part, size, clean.shape)
                painted = _paint(rng, image, clean, shape, severity, size, difficulty, palette)
                image[shape.box] = painted.clamp(0, palette.brightest)
                weight[shape.box] = torch.maximum(weight[shape.box], shape.weight())
        if radius > 5 and rng.random() < 0.3 * difficulty:
            bulge = (centre, radius)
    if bulge is not None:
        image, weight = _mass_effect(rng, image, weight, *bulge)
    inside = brain.float()
    return Corrupted(image * inside, weight * inside)


def _parts(
    rng: np.random.Generator, place: np.ndarray, radius: float, large: bool
) -> list[tuple[np.ndarray, float]]:
    """Centre and radius of what a lesion consists of: itself, and of a large one at times cysts, solid parts
    and oedema in and around it, each with its own appearance, as in infiltrating gliomas.
    """
    parts = [(place, radius)]
    if large and rng.random() < MIXED_SHARE:
        for _ in range(int(rng.integers(2, 6))):
            offset = rng.normal(0, 0.55 * radius, 3)
            parts.append((place + offset, radius * float(rng.uniform(0.25, 0.7))))
    return parts


def _coarse_noise(
    rng: np.random.Generator, clean: Tensor, brain: Tensor, severity: float, palette: Palette
) -> Corrupted:
    """Smooth noise in patches, as denoising auto-encoders learn from (Kascenas 2022)."""
    size = (clean.shape[0], clean.shape[1], clean.shape[2])
    knots = int(rng.integers(8, 18))
    noise = fields.smooth_noise(
        rng, size, (knots, int(knots * 1.2), knots), rng.uniform(0.05, 0.05 + 0.2 * severity)
    )
    noise = noise * (fields.smooth_noise(rng, size, (4, 4, 4), 1.0) > 0.3) * brain
    image = (clean + palette.contrast * noise).clamp(0, palette.brightest)
    return Corrupted(image, (noise.abs() / 0.2).clamp(0, 1))


def _mass_effect(
    rng: np.random.Generator, image: Tensor, weight: Tensor, centre: np.ndarray, radius: float
) -> tuple[Tensor, Tensor]:
    """Push the surroundings away from a large lesion: displacement falls off as a Gaussian of 1.6 radii."""
    axes = [torch.arange(n, dtype=torch.float32) - float(c) for n, c in zip(image.shape, centre, strict=True)]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    falloff = rng.uniform(0.1, 0.35) * torch.exp(-0.5 * (offset**2).sum(0) / (1.6 * radius) ** 2)
    size = (image.shape[0], image.shape[1], image.shape[2])
    warped = fields.sample_affine(torch.stack([image, weight]), np.eye(4), size, -falloff * offset)
    return warped[0], warped[1]
