"""Where healthy scans raise false alarms, before and after they are compared with other healthy scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import edt
import numpy as np
from numpy.typing import NDArray

from AnomalyDetectLib.evaluation.healthy_contest import HealthyScan, threshold_of
from AnomalyDetectLib.evaluation.lesion_contest import Z
from AnomalyDetectLib.prepare.template import load_template
from AnomalyDetectLib.scoring.evidence import RESIDUAL, TISSUE
from AnomalyDetectLib.volume import BoolArray, FloatArray

BORDER_MM = 3.0  # to either side of a ventricle's wall
EDGE_MM, RIM_MM = 2.0, 6.0  # from the surface of the brain
MIDLINE_MM = 6.0
AT_ONE_PERCENT, AT_HALF = "at 1 % of voxels", "at half of lesions"
POLE_MM = 20.0
VENTRICLES = ("lateral ventricle", "third ventricle", "fourth ventricle")
CEREBELLUM = ("cerebellum", "cerebellar vermis")
DEEP = (
    "caudate", "putamen", "pallidum", "thalamus", "accumbens and basal forebrain", "internal capsule",
    "hippocampus", "amygdala", "fornix", "ventral diencephalon",
)  # fmt: skip


def regions(brain: BoolArray) -> dict[str, BoolArray]:
    """Places that shout in healthy scans, on the working grid (X,Y,Z), inside this brain; they overlap.

    ventricle borders: within 3 mm of the walls of the template's ventricles, to both sides. choroid plexus:
    the template's lateral ventricles behind the thalamus' front end (where the interventricular foramen lies
    and the plexus begins). skull edge: the outer 2 mm of this brain. sulci: its next 4 mm, above the
    cerebellum and the brain stem. sinuses: of its outer 6 mm, the part within 6 mm of the midline above the
    thalamus (sagittal sinus), and where cerebellum and occipital or temporal lobe are both within 6 mm
    (transverse sinus, tentorium). insula, cerebellum (with vermis), brain stem, deep (basal ganglia,
    thalamus, hippocampus and what lies between): by the template's labels. temporal poles: the front 20 mm
    of its temporal lobes. elsewhere: the rest; whole brain: everything.
    """
    template = load_template()
    spacing = template.grid.spacing
    x, y, z = template.coordinates()
    labelled, near = template.labelled, template.near
    ventricle = labelled(*VENTRICLES)
    plexus_front = float(np.broadcast_to(y, brain.shape)[labelled("thalamus")].max())
    thalamus_top = float(np.broadcast_to(z, brain.shape)[labelled("thalamus")].max())
    depth = edt.edt(brain, anisotropy=spacing)
    rim = brain & (depth <= RIM_MM)
    hindbrain = labelled(*CEREBELLUM, "brain stem")
    temporal = labelled("temporal cortex", "temporal white matter")
    lobes = temporal | labelled("occipital cortex", "occipital white matter")
    tentorium = near(labelled(*CEREBELLUM), RIM_MM) & near(lobes, RIM_MM)
    pole = float(np.broadcast_to(y, brain.shape)[temporal].max()) - POLE_MM
    found = {
        "ventricle borders": near(ventricle, BORDER_MM) & near(~ventricle, BORDER_MM),
        "choroid plexus": labelled("lateral ventricle") & (y <= plexus_front),
        "sulci": rim & (depth > EDGE_MM) & ~hindbrain,
        "sinuses": rim & (((np.abs(x) <= MIDLINE_MM) & (z >= thalamus_top)) | tentorium),
        "skull edge": brain & (depth <= EDGE_MM),
        "insula": labelled("insula"),
        "temporal poles": temporal & (y >= pole),
        "cerebellum": labelled(*CEREBELLUM),
        "brain stem": labelled("brain stem"),
        "deep": labelled(*DEEP),
    }
    inside = {name: np.asarray(mask & brain) for name, mask in found.items()}
    return inside | {"elsewhere": brain & ~np.any(list(inside.values()), axis=0), "whole brain": brain}


def region_figures(
    scans: Sequence[HealthyScan], model: str, lesions: Sequence[Mapping[str, FloatArray]]
) -> list[dict[str, object]]:
    """A row a region: its volume, and ml of false alarms per scan in it, of |residual| and of |tissue|
    (before) and of |z| (after), and after over before; at two thresholds of each map.

    At the first, 1 % of the voxels of all scans are alarms: the whole brain has the same volume before and
    after, which is moved from region to region. At the second, half of the lesions' voxels are. lesions: the
    maps' magnitudes in lesions (n,), by name, of each case; empty: the first threshold alone.
    """
    maps: dict[str, list[NDArray[np.floating]]] = {}
    for name in (RESIDUAL, TISSUE):
        if name in scans[0].evidence[model]:
            maps[name] = [np.abs(scan.evidence[model][name]) for scan in scans]
    if not maps:
        return []
    maps[Z] = [np.abs(scan.z[model]) for scan in scans]
    limits = {AT_ONE_PERCENT: {name: threshold_of(values) for name, values in maps.items()}}
    if lesions:
        limits[AT_HALF] = {
            name: float(np.median(np.concatenate([i[name] for i in lesions]))) for name in maps
        }
    share = load_template().grid.voxel_mm3 / 1000 / len(scans)
    volumes: dict[str, float] = {}
    totals: dict[tuple[str, str, str], float] = {}
    for number, scan in enumerate(scans):
        for region, mask in regions(scan.brain).items():
            inside = mask[scan.brain]
            volumes[region] = volumes.get(region, 0.0) + share * inside.sum()
            for at, limit in limits.items():
                for name, values in maps.items():
                    alarms = share * (values[number][inside] >= limit[name]).sum()
                    totals[region, at, name] = totals.get((region, at, name), 0.0) + alarms
    rows: list[dict[str, object]] = []
    for region, volume in volumes.items():
        row: dict[str, object] = {"region": region, "volume, ml": volume}
        for at in limits:
            ml = {name: totals[region, at, name] for name in maps}
            row |= {f"{name}, ml {at}": value for name, value in ml.items()}
            row |= {
                f"{Z} / {name} {at}": ml[Z] / ml[name] if ml[name] else float("nan")
                for name in maps
                if name != Z
            }
        rows.append(row)
    return rows
