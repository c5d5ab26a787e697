"""The shipped template: brain outline and coarse regions, the consensus of the training subjects' label
maps.
"""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from AnomalyDetectLib.training import labels, template
from AnomalyDetectLib.training.heads import TISSUE_TO_TARGET, intracranial_mask

PERIVENTRICULAR_MM = 6.0
_LOBES = ("frontal", "parietal", "temporal", "occipital")
_WHOLE = {  # MUSE regions that become one coarse region each: (right, left)
    "caudate": ((36,), (37,)),
    "putamen": ((57,), (58,)),
    "pallidum": ((55,), (56,)),
    "thalamus": ((59,), (60,)),
    "accumbens and basal forebrain": ((23, 76), (30, 75)),
    "hippocampus": ((47,), (48,)),
    "amygdala": ((31,), (32,)),
    "internal capsule": ((91, 93), (92, 94)),
    "fornix": ((89,), (90,)),
    "ventral diencephalon": ((61,), (62,)),
    "lateral ventricle": ((49, 51), (50, 52)),
    "cerebellum": ((38, 40), (39, 41)),
    "insula": ((102, 172), (103, 173)),
    "cingulate gyrus": ((100, 138, 166), (101, 139, 167)),
    "parahippocampal gyrus": ((116, 170), (117, 171)),
}
_MIDLINE = {
    "third ventricle": (4,), "fourth ventricle": (11,), "brain stem": (35,), "corpus callosum": (95,),
    "cerebellar vermis": (71, 72, 73), "optic chiasm": (69,), "cerebrospinal fluid spaces": (1, 46),
}  # fmt: skip


def coarse_regions(lobe_of: dict[int, str]) -> tuple[NDArray[np.uint8], list[tuple[int, str, str]]]:
    """Look-up table from MUSE number to coarse code, and the rows (code, name, side).

    lobe_of: lobe of every cortical and lobar white-matter region, from the label table.
    """
    table = np.zeros(256, np.uint8)
    rows: list[tuple[int, str, str]] = []

    def add(name: str, side: str, numbers: tuple[int, ...]) -> None:
        rows.append((len(rows) + 1, name, side))
        table[list(numbers)] = len(rows)

    for name, (right, left) in _WHOLE.items():
        add(name, "right", right)
        add(name, "left", left)
    for name, numbers in _MIDLINE.items():
        add(name, "midline", numbers)
    for lobe in _LOBES:
        for tissue, members in (("cortex", range(100, 208)), ("white matter", range(81, 89))):
            for parity, side in ((0, "right"), (1, "left")):
                first = (
                    0 if tissue == "cortex" else 1
                )  # cortical right regions are even, white-matter ones odd
                numbers = tuple(
                    n
                    for n in members
                    if lobe_of.get(n) == lobe and n % 2 == (parity + first) % 2 and not table[n]
                )
                add(f"{lobe} {tissue}", side, numbers)
    for side in ("right", "left"):
        add("periventricular white matter", side, ())
    return table, rows


def build(data: Path, affines: dict[str, np.ndarray], out: Path) -> None:
    """Write brain.nii.gz (probability x 200), regions.nii.gz (codes) and regions.tsv from the training
    subjects.

    Both sides are pooled, so the template is left-right symmetric.
    """
    with (data / "ixi_t1_2mm" / "dlmuse_labels.tsv").open() as file:
        lobe_of = {int(row["id"]): row["lobe"] for row in csv.DictReader(file, delimiter="\t")}
    lobe_of |= dict.fromkeys(range(100, 208), "frontal") | {n: v for n, v in lobe_of.items() if v in _LOBES}
    table, rows = coarse_regions(lobe_of)
    votes = np.zeros((len(rows) + 1, *template.TEMPLATE_SHAPE), np.uint16)
    brain = np.zeros(template.TEMPLATE_SHAPE, np.float32)
    tissue = np.zeros((*template.TEMPLATE_SHAPE, 3), np.float32)
    count = 0
    for subject in template.ixi_subjects(data, "train"):
        if subject.name not in affines:
            continue
        _, regions, grid = subject.read()
        aligned = template.labels_to_template(regions, grid, affines[subject.name])
        for one in (aligned, labels.mirror_muse(aligned)[::-1]):
            codes = table[one]
            for code in np.unique(codes):
                votes[code] += codes == code
            inside = intracranial_mask(one, template.TEMPLATE_SPACING)
            target = TISSUE_TO_TARGET.numpy()[labels.MUSE_TISSUE[one]]
            for channel in range(3):
                tissue[..., channel] += inside & (target == channel)
            brain += inside
            count += 1
    consensus = votes.argmax(0).astype(np.uint8)
    consensus = _periventricular(consensus, rows)
    grid = template.template_grid()
    out.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(np.round(brain / count * 200).astype(np.uint8), grid.affine), out / "brain.nii.gz"
    )
    shares = np.round(tissue / count * 200).astype(np.uint8)
    nib.save(nib.Nifti1Image(shares, grid.affine), out / "tissue.nii.gz")
    nib.save(nib.Nifti1Image(consensus, grid.affine), out / "regions.nii.gz")
    with (out / "regions.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("id", "name", "side"))
        writer.writerows(rows)


def _periventricular(codes: NDArray[np.uint8], rows: list[tuple[int, str, str]]) -> NDArray[np.uint8]:
    """Lobar white matter within 6 mm of a lateral ventricle becomes periventricular white matter."""
    number = {(name, side): code for code, name, side in rows}
    ventricles = np.isin(codes, [number["lateral ventricle", side] for side in ("right", "left")])
    near = (
        ndimage.distance_transform_edt(~ventricles, sampling=template.TEMPLATE_SPACING) <= PERIVENTRICULAR_MM
    )
    for side in ("right", "left"):
        white = np.isin(codes, [number[f"{lobe} white matter", side] for lobe in _LOBES])
        codes[white & near] = number["periventricular white matter", side]
    return codes
