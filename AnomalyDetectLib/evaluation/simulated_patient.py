"""Make the bundled simulated patient: a template's anatomy bent into an individual, with known lesions.

The anatomy is the MNI ICBM152 2009a symmetric average (T1 and tissue maps) as the Python package nilearn
ships it. Nothing in the result is a person's scan. Run once, by hand:

    python -m AnomalyDetectLib.evaluation.simulated_patient FOLDER_WITH_THE_TEMPLATE Resources/SampleData
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from edt import edt
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.io.write import write_nifti
from AnomalyDetectLib.volume import Affine, BoolArray, FloatArray, Grid

STATEMENT = (
    "SIMULATED PATIENT. No person was scanned: anatomy from the MNI ICBM152 average, bent at random; "
    "scalp, skull and lesions are synthetic. For demonstration, not for training or validation."
)
TEMPLATE_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SEED = 20250

SHAPE = (184, 236, 200)  # (i,j,k), 1 mm
ORIGIN_MM = (-92.0, -130.0, -93.0)

# Intensities of the template's own scale (white matter 223, grey matter 165).
CSF, GREY, WHITE = 62.0, 165.0, 223.0
BONE, MARROW, FAT, MUSCLE, SKIN = 22.0, 150.0, 245.0, 115.0, 150.0

SKULL_BASE_MM = 2.0  # above this height, RAS

# Scanner units of one template unit: fewer grey levels make a smaller file, and lose nothing under the noise.
GAIN = 0.55


@dataclass(frozen=True)
class Lesion:
    """One lesion of known truth.

    label: its value in the truth. kind: what it imitates. sign: bright or dark on T1, against what is
    healthy there. centre_ras_mm: RAS. volume_ml: of its voxels in the truth."""

    label: int
    kind: str
    sign: str
    location: str
    centre_ras_mm: tuple[float, float, float]
    volume_ml: float


@dataclass(frozen=True)
class Anatomy:
    """The individual before lesions, (i,j,k) on `grid`. image: template units. brain, white, cortex: bool."""

    grid: Grid
    image: FloatArray
    brain: BoolArray
    white: BoolArray
    cortex: BoolArray


def random_field(rng: np.random.Generator, length_mm: float, shape: tuple[int, ...] = SHAPE) -> FloatArray:
    """A smooth random field (i,j,k), 1-mm voxels, mean 0, SD 1, with a correlation length in mm."""
    step = max(1.0, length_mm / 3)
    coarse = rng.normal(size=[int(np.ceil(n / step)) + 8 for n in shape])
    smooth = ndimage.gaussian_filter(coarse, length_mm / step)
    zoomed = ndimage.zoom(smooth, step, order=1)
    start = [(zoomed.shape[axis] - shape[axis]) // 2 for axis in range(3)]
    field = zoomed[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def load_template(folder: Path) -> tuple[dict[str, FloatArray], Affine]:
    """The template's T1 (0-255) and tissue probabilities (0-1), and their affine, carried on downwards.

    The average ends in the middle of the brain stem: the lowest slice is repeated so that nothing ends there.
    """
    more = 30
    maps: dict[str, FloatArray] = {}
    affine = np.eye(4)
    for name in ("t1", "gm", "wm"):
        image: Any = nib.load(folder / TEMPLATE_FILE.format(name))
        array = np.asarray(image.dataobj, dtype=np.float32) / np.float32(1 if name == "t1" else 255)
        maps[name] = np.pad(array, ((0, 0), (0, 0), (more, 0)), mode="edge")
        affine = np.asarray(image.affine, dtype=np.float64).copy()
    affine[2, 3] -= more
    return maps, affine


def head_pose() -> Affine:
    """Template RAS from patient RAS, mm: a head that is a little narrower, nods and turns."""
    nod, turn = np.radians(7.0), np.radians(-4.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = about_x @ about_z @ np.diag([1.03, 0.97, 1.01])
    pose[:3, 3] = [2.0, -8.0, 3.0]
    return pose


def bend(
    maps: dict[str, FloatArray], affine: Affine, grid: Grid, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """The maps on the patient's grid, through a pose and a smooth random displacement of a few mm."""
    to_template = np.linalg.inv(affine) @ head_pose() @ grid.affine
    index = np.indices(grid.shape, dtype=np.float32).reshape(3, -1)
    where = (to_template[:3, :3] @ index + to_template[:3, 3:]).reshape(3, *grid.shape).astype(np.float32)
    for axis in range(3):
        where[axis] += 3.0 * random_field(rng, 35) + 1.6 * random_field(rng, 12)
    return {name: ndimage.map_coordinates(array, where, order=1) for name, array in maps.items()}


def individual(
    maps: dict[str, FloatArray], rng: np.random.Generator
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """T1 (template units) and tissue shares of one person rather than of the average of 152.

    The average's tissue maps are blurred where people differ. Each voxel's shares are sharpened, tilted by
    smooth noise that stands for one person's folds, and the difference of the two mixtures is added to the
    average T1.
    """
    brain = maps["t1"] > 20
    shares = np.stack([np.clip(1 - maps["gm"] - maps["wm"], 0, 1), maps["gm"], maps["wm"]])
    shares *= brain
    means = np.array([CSF, GREY, WHITE], dtype=np.float32)[:, None, None, None]
    tilt = np.stack(
        [0.5 + 0.6 * random_field(rng, 4), 0.25 * random_field(rng, 3), 0.25 * random_field(rng, 3)]
    )
    sharp = np.maximum(shares, 1e-4) ** 2.5 * np.exp(tilt)
    sharp /= sharp.sum(0)
    image = maps["t1"] + (means * (sharp - shares)).sum(0)
    image = np.where(brain, np.clip(image, 30, None), 0)
    return image.astype(np.float32), {"csf": sharp[0] * brain, "gm": sharp[1] * brain, "wm": sharp[2] * brain}


def add_shell(image: FloatArray, brain: BoolArray, grid: Grid, rng: np.random.Generator) -> FloatArray:
    """The brain in cerebrospinal fluid, skull and scalp, on a neck; without a face, as scans are shared."""
    outside = edt(~brain)
    vault = np.arange(SHAPE[2])[None, None] + ORIGIN_MM[2] > SKULL_BASE_MM
    # The vault bridges fissures and hollows; the base follows the brain, so that no lake of fluid lies on it.
    closed = (edt(outside < 22) > 22) & vault | (edt(outside < 5) > 5) | brain
    distance = edt(~closed)
    inner = 1.5 + 0.5 * random_field(rng, 15)
    skull = inner + 6.0 + 1.0 * random_field(rng, 25)
    scalp = skull + 6.0 + 1.2 * random_field(rng, 25)
    depth = np.clip((distance - inner) / np.maximum(skull - inner, 1), 0, 1)
    diploe = np.clip(1 - np.abs(depth - 0.5) / 0.22, 0, 1) * np.clip(0.6 + 0.4 * random_field(rng, 8), 0, 1)
    flesh = soft_tissue(rng)
    neck, spine = neck_of(grid, rng)
    head = np.where(neck, flesh, 0).astype(np.float32)
    head[spine] = MARROW
    head[distance <= scalp] = flesh[distance <= scalp]
    skin = (distance <= scalp) & (distance > scalp - 1.8)
    head[skin] = SKIN
    bone = (distance <= skull) & (distance > inner)
    head[bone] = (BONE + (MARROW - BONE) * diploe)[bone]
    head[distance <= inner] = CSF
    edge = ndimage.gaussian_filter(head, 0.6)
    alpha = np.clip(ndimage.gaussian_filter(brain.astype(np.float32), 0.6), 0, 1)
    return np.asarray(np.where(brain, image * alpha + edge * (1 - alpha), edge), dtype=np.float32)


def soft_tissue(rng: np.random.Generator) -> FloatArray:
    """Muscle with layers of fat, everywhere (i,j,k)."""
    fat = np.clip(0.1 + 0.9 * random_field(rng, 4), 0, 1)
    return np.asarray(MUSCLE + (FAT - MUSCLE) * fat + 8 * random_field(rng, 1.5), dtype=np.float32)


def neck_of(grid: Grid, rng: np.random.Generator) -> tuple[BoolArray, BoolArray]:
    """The neck and the spine in it, (i,j,k)."""
    i, j, k = np.indices(grid.shape, dtype=np.float32)
    x, y, z = (axis + origin for axis, origin in zip((i, j, k), ORIGIN_MM, strict=True))
    widen = np.clip((z + 95) / 60, 0, 1)  # it widens towards the skull, which hides its upper end
    rough = 0.05 * random_field(rng, 20)
    neck = ((x / (52 + 12 * widen)) ** 2 + ((y + 34) / (54 + 14 * widen)) ** 2 < 1 + rough) & (z < -25)
    spine = ((x / 16) ** 2 + ((y + 30) / 13) ** 2 < 1 + rough) & (z < -60)
    return neck, spine


def make_anatomy(folder: Path, rng: np.random.Generator) -> Anatomy:
    """The individual on the patient's grid."""
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN_MM
    grid = Grid(SHAPE, affine)
    maps, template_affine = load_template(folder)
    image, shares = individual(bend(maps, template_affine, grid, rng), rng)
    brain = image > 0
    white = shares["wm"] > 0.85
    cortex = (shares["gm"] > 0.5) & (edt(brain) < 14)
    return Anatomy(grid, add_shell(image, brain, grid, rng), brain, white, cortex)


def ball(grid: Grid, centre: tuple[float, float, float], rough: FloatArray) -> FloatArray:
    """Distance in mm from `centre` (RAS mm), made uneven by `rough` (mm), (i,j,k)."""
    index = np.indices(grid.shape, dtype=np.float32)
    away = [(index[a] + ORIGIN_MM[a] - centre[a]) ** 2 for a in range(3)]
    return np.asarray(np.sqrt(sum(away)) + rough, dtype=np.float32)


def of_volume(distance: FloatArray, where: BoolArray, volume_ml: float) -> BoolArray:
    """The voxels of `where` nearest by `distance` that make up `volume_ml` (1-mm voxels)."""
    wanted = round(volume_ml * 1000)
    limit = np.partition(distance[where], wanted)[wanted]
    inside = where & (distance < limit)
    labels, count = ndimage.label(inside)
    return inside if count <= 1 else np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def blend(image: FloatArray, mask: BoolArray, value: FloatArray | float) -> FloatArray:
    """`value` in place of `image` inside the mask, with edges a voxel wide."""
    share = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
    return np.asarray(image * (1 - share) + value * share, dtype=np.float32)


def mass(anatomy: Anatomy, image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """An enhancing ring with a dark core in the left frontal white matter, 12 ml."""
    distance = ball(anatomy.grid, (-31.0, 26.0, 26.0), 2.2 * random_field(rng, 9))
    whole = of_volume(distance, anatomy.brain, 12.0)
    depth = edt(whole) + 0.8 * random_field(rng, 4)
    core = whole & (depth > 5.0)
    image = blend(image, whole, WHITE + 38 + 10 * random_field(rng, 3))
    return blend(image, core, CSF + 30 + 8 * random_field(rng, 3)), whole


def infarct(anatomy: Anatomy, image: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """A dark wedge of 3 ml, its base on the right parietal cortex."""
    base, inward = np.array([52.0, -42.0, 38.0]), np.array([-0.85, 0.25, -0.45])
    inward /= np.linalg.norm(inward)
    index = np.indices(anatomy.grid.shape, dtype=np.float32)
    offset = np.stack([index[a] + ORIGIN_MM[a] - base[a] for a in range(3)])
    depth = np.tensordot(inward.astype(np.float32), offset, axes=1)
    aside = np.sqrt(np.maximum((offset**2).sum(0) - depth**2, 0)) + 1.0 * random_field(rng, 6)
    near = anatomy.brain & (depth > -14) & (depth < 22)
    mask = of_volume((aside / np.clip(1.0 - depth / 26, 0.1, 1.2)).astype(np.float32), near, 3.0)
    return blend(image, mask, CSF + 42 + 10 * random_field(rng, 3)), mask


def spot(
    anatomy: Anatomy,
    image: FloatArray,
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    volume_ml: float,
    value: float,
) -> tuple[FloatArray, BoolArray]:
    """A small roundish lesion in the white matter that lies nearest to `centre` (RAS mm)."""
    deep = edt(anatomy.white) > 2.5
    to_centre = np.where(deep, ball(anatomy.grid, centre, np.zeros(1, dtype=np.float32)), np.inf)
    place = np.unravel_index(int(np.argmin(to_centre)), to_centre.shape)
    at = tuple(float(v) + o for v, o in zip(place, ORIGIN_MM, strict=True))
    distance = ball(anatomy.grid, (at[0], at[1], at[2]), 0.8 * random_field(rng, 4))
    mask = of_volume(distance, anatomy.brain, volume_ml)
    return blend(image, mask, value + 6 * random_field(rng, 3)), mask


def add_lesions(
    anatomy: Anatomy, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.uint8], list[Lesion]]:
    """The image with lesions, their truth (uint8 labels) and their list, the largest first."""
    image, truth = anatomy.image, np.zeros(SHAPE, dtype=np.uint8)
    lesions: list[Lesion] = []

    def enter(made: tuple[FloatArray, BoolArray], kind: str, sign: str, location: str) -> FloatArray:
        changed, mask = made
        mask = mask & (truth == 0)
        truth[mask] = len(lesions) + 1
        i, j, k = (float(v) + o for v, o in zip(np.argwhere(mask).mean(0), ORIGIN_MM, strict=True))
        centre = (round(i, 1), round(j, 1), round(k, 1))
        ml = round(float(mask.sum()) / 1000, 3)
        lesions.append(Lesion(len(lesions) + 1, kind, sign, location, centre, ml))
        return changed

    image = enter(mass(anatomy, image, rng), "enhancing mass", "bright", "left frontal white matter")
    image = enter(infarct(anatomy, image, rng), "old infarct", "dark", "right parietal cortex")
    haemorrhage = spot(anatomy, image, rng, (36.0, 8.0, -18.0), 1.5, WHITE + 45)
    image = enter(haemorrhage, "subacute haemorrhage", "bright", "right temporal white matter")
    first = spot(anatomy, image, rng, (-27.0, -42.0, 28.0), 1.0, GREY - 22)
    image = enter(first, "white-matter lesion", "dark", "left parietal white matter")
    second = spot(anatomy, image, rng, (25.0, 24.0, 22.0), 0.4, GREY - 22)
    image = enter(second, "white-matter lesion", "dark", "right frontal white matter")
    return image, truth, lesions


def acquire(image: FloatArray, rng: np.random.Generator) -> NDArray[np.int16]:
    """What a scanner would make of the image: point spread, coil shading of 10 %, Rician noise, integers."""
    head = ndimage.binary_dilation(image > 5, iterations=1)
    texture = 1 + 0.015 * random_field(rng, 1.2)
    shading = np.exp(0.07 * random_field(rng, 60))
    signal = ndimage.gaussian_filter(image * texture, 0.35) * shading
    noisy = np.hypot(signal + rng.normal(0, 4.0, SHAPE), rng.normal(0, 4.0, SHAPE))
    return np.where(head, np.rint(GAIN * noisy), 0).astype(np.int16)


def main(template: Path, out: Path) -> None:
    """Make the patient and write demo_t1.nii.gz, demo_truth.nii.gz and demo.json into `out`."""
    rng = np.random.default_rng(SEED)
    anatomy = make_anatomy(template, rng)
    image, truth, lesions = add_lesions(anatomy, rng)
    write_scan(acquire(image, rng), anatomy.grid, out / "demo_t1.nii.gz")
    write_nifti(truth, anatomy.grid, out / "demo_truth.nii.gz")
    described = {
        "statement": STATEMENT,
        "scan": "demo_t1.nii.gz",
        "truth": "demo_truth.nii.gz",
        "modality": "T1",
        "seed": SEED,
        "lesions": [asdict(lesion) for lesion in lesions],
    }
    (out / "demo.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def write_scan(array: NDArray[np.int16], grid: Grid, path: Path) -> None:
    """The scan as int16, compressed as far as gzip goes: it is shipped, not written in a hurry."""
    image: Any = nib.Nifti1Image(array, grid.affine)
    image.header["descrip"] = b"simulated patient, no person was scanned"
    image.set_qform(grid.affine, 1)
    image.set_sform(grid.affine, 1)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
