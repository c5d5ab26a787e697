"""Other contrasts of a healthy T1 brain: T2-, FLAIR-, PD-like and free ones, painted from its tissue labels
and from its own intensities.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from AnomalyDetectLib.training import labels
from AnomalyDetectLib.training import random_fields as fields
from AnomalyDetectLib.training.heads import class_means, tissue_means

BRIGHTEST = 3.0  # working units: fluid in T2; brighter is clipped
DARKEST_WHITE = 0.2  # of the brightest tissue: less would turn every other tissue into fluid
PARTIAL_VOLUME = 0.5  # voxels: blur of the painted labels' edges


def recontrast(
    rng: np.random.Generator, image: Tensor, tissue: Tensor, contrast: str | None = None
) -> Tensor:
    """The brain in a random contrast, or in one like `contrast`, white matter 1 (X,Y,Z).

    image: a T1 scan in working units. tissue: its classes (X,Y,Z). A random share is painted, class by
    class, with the scan's own texture on top; the rest maps the scan's intensities through a curve that takes
    fluid, grey and white matter to their new means, which keeps the finest anatomy.
    """
    classes = tissue.long()
    target = random_contrast(rng, contrast)
    own = class_means(image, classes)
    painted = fields.blur(target[classes], PARTIAL_VOLUME)
    texture = image - fields.blur(own[classes], PARTIAL_VOLUME)
    painted = painted + float(rng.uniform(-0.8, 0.8)) * texture
    share = float(rng.choice([0.0, 0.5, 1.0]))
    mixed = share * painted + (1 - share) * through_curve(image, own, target)
    return torch.where(classes > 0, mixed, 0).clamp(0, BRIGHTEST)


def random_contrast(rng: np.random.Generator, contrast: str | None = None) -> Tensor:
    """Random mean intensities of the tissue classes (9,), white matter 1: of any contrast, or like one."""
    means = torch.from_numpy(tissue_means(rng, contrast))
    means[labels.WHITE] = means[labels.WHITE].clamp(min=DARKEST_WHITE)
    return (means / means[labels.WHITE]).clamp(max=BRIGHTEST)


def through_curve(image: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """Intensities (X,Y,Z) mapped piecewise linearly so that fluid, cortex and white matter get their target
    means.
    """
    order = [labels.CSF, labels.CORTEX, labels.WHITE]
    low, middle, high = (float(own[one]) for one in order)
    knots = np.array([0.0, low, max(middle, low + 1e-3), max(high, middle + 2e-3), BRIGHTEST])
    values = np.array([float(target[labels.CSF]), *(float(target[one]) for one in order), 0.0])
    # Beyond white matter the contrast between white and grey matter goes on.
    values[-1] = values[3] + 0.5 * (values[3] - values[2])
    mapped = np.interp(image.numpy(), knots, values)
    return torch.from_numpy(mapped.astype(np.float32))
