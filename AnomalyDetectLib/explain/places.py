"""The places that an attribution singles out, and how much of it lies inside the finding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AnomalyDetectLib.explain.views import SequenceView
from AnomalyDetectLib.volume import BoolArray, FloatArray, smooth_inside

MOST_PLACES = 5
APART_MM = 8.0  # two places are at least so far apart
NEAR_MM = 4.0  # what lies within belongs to a place
LEAST_SHARE = 0.02  # a place with less isn't worth a line


@dataclass(frozen=True)
class Place:
    """centre_ras_mm: in the case's scan. inside: whether it lies in the finding. value: z, what lies near
    adds to the finding's mean z. share: of the attribution's absolute sum.
    """

    centre_ras_mm: tuple[float, float, float]
    inside: bool
    value: float
    share: float


def inside_share(attribution: FloatArray, inside: BoolArray) -> float:
    """The share of the attribution's absolute sum that lies inside the finding, both (X,Y,Z)."""
    total = float(np.abs(attribution).sum())
    return float(np.abs(attribution[inside]).sum()) / total if total else 0.0


def places_of(attribution: FloatArray, view: SequenceView) -> list[Place]:
    """The most influential places of an attribution (X,Y,Z), the strongest first."""
    working = view.way.working
    spacing = np.asarray(working.spacing)
    strength = np.abs(smooth_inside(attribution, view.scan.prepared.brain, 1.0))
    total = max(float(np.abs(attribution).sum()), 1e-12)
    indices = np.indices(strength.shape)
    back = np.linalg.inv(view.way.working_from_input)
    found: list[Place] = []
    while len(found) < MOST_PLACES and strength.max() > 0:
        at = np.array(np.unravel_index(strength.argmax(), strength.shape))
        distance = np.sqrt((((indices - at[:, None, None, None]) * spacing[:, None, None, None]) ** 2).sum(0))
        near = distance <= NEAR_MM
        share = float(np.abs(attribution[near]).sum()) / total
        if share < LEAST_SHARE:
            break
        right, anterior, superior = (back @ working.affine @ np.append(at, 1.0))[:3].round(1).tolist()
        found.append(
            Place(
                (right, anterior, superior),
                bool(view.inside[tuple(at)]),
                float(attribution[near].sum()),
                share,
            )
        )
        strength = np.where(distance < APART_MM, 0, strength)
    return found
