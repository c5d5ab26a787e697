"""Healthy brains of any contrast, painted from the 1-mm label maps with partial volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.training import labels, template
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.caches import store
from AnomalyDetectLib.training.contrasts import BRIGHTEST, random_contrast
from AnomalyDetectLib.training.heads import HELD_OUT_MAPS, label_map_mask
from AnomalyDetectLib.volume import Affine, FloatArray, Grid

WHOLE = 200  # stored value of share 1


@dataclass(frozen=True)
class LabelBrain:
    """shares: uint8 (9,X,Y,Z), share x 200 of each tissue class in a voxel. codes: uint8 (X,Y,Z), the
    structure. brain: bool (X,Y,Z). All on the working grid.
    """

    name: str
    shares: Tensor
    codes: Tensor
    brain: Tensor

    @property
    def tissue(self) -> Tensor:
        """The most frequent class of each voxel, uint8 (X,Y,Z)."""
        return self.shares.argmax(0).to(torch.uint8)


def load_label_brains(data: Path, cache: Path, held_out: bool) -> list[LabelBrain]:
    """The label maps for training, or those held out; brought to the working grid once into `cache`."""
    affines = template.cached_affines(data, cache)
    folder = cache / "label-brains"
    folder.mkdir(parents=True, exist_ok=True)
    names = [path.name.split(".")[0] for path in sorted((data / "labelmaps_1mm").glob("*.nii.gz"))]
    if not all((folder / f"{name}.npz").exists() for name in names):
        for name, array, grid in template.head_label_maps(data):
            store(folder / f"{name}.npz", **_on_working_grid(array, grid, affines[name]))
    brains = []
    for name in names:
        if (name in HELD_OUT_MAPS) == held_out:
            with np.load(folder / f"{name}.npz") as arrays:
                stored = {key: torch.from_numpy(arrays[key]) for key in ("shares", "codes", "brain")}
            brains.append(LabelBrain(name, **stored))
    return brains


def _on_working_grid(array: NDArray[np.uint16], grid: Grid, affine: Affine) -> dict[str, Any]:
    """Shares, structure codes and brain mask of one 1-mm map."""
    i, j, k = (n // 2 * 2 for n in array.shape)
    array = array[:i, :j, :k]
    _, codes = np.unique(array, return_inverse=True)
    tissue = labels.FREESURFER_TISSUE[array]

    def carried(inside: NDArray[np.bool_]) -> FloatArray:
        half = functional.avg_pool3d(torch.from_numpy(inside.astype(np.float32))[None, None], 2)[0, 0].numpy()
        step = np.diag([2.0, 2.0, 2.0, 1.0])
        step[:3, 3] = 0.5
        lattice = Grid((i // 2, j // 2, k // 2), grid.affine @ step)
        return template.to_template(half, lattice, affine)

    shares = np.stack([carried(tissue == one) for one in range(len(labels.TISSUE_NAMES))])
    shares /= np.maximum(shares.sum(0), 1e-3)
    small = codes.reshape(array.shape).astype(np.uint8)
    return {
        "shares": np.round(shares * WHOLE).astype(np.uint8),
        "codes": template.labels_to_template(small, Grid((i, j, k), grid.affine), affine),
        "brain": carried(label_map_mask(tissue)) > 0.5,
    }


def paint(rng: np.random.Generator, brain: LabelBrain) -> Tensor:
    """The brain in a random contrast, white matter 1 (X,Y,Z), with texture and a shade of its own for each
    structure.
    """
    means = random_contrast(rng)
    size = (brain.codes.shape[0], brain.codes.shape[1], brain.codes.shape[2])
    shares = brain.shares.float() / WHOLE
    image = torch.einsum("c,cxyz->xyz", means, shares)
    shades = torch.from_numpy(rng.normal(0, 0.03, 256).astype(np.float32))
    image = image + fields.blur(shades[brain.codes.long()], 0.6)
    spread = torch.from_numpy(rng.uniform(0.0, 0.06, len(means)).astype(np.float32))
    noise = torch.randn(size, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
    texture = fields.blur(noise, rng.uniform(0.2, 0.8)) + fields.smooth_noise(rng, size, (20, 24, 20), 0.7)
    image = image + texture * torch.einsum("c,cxyz->xyz", spread, shares)
    return torch.where(brain.brain, image, 0).clamp(0, BRIGHTEST)
