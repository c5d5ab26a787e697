"""The parts that synthetic scans are made of do what their names say."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from AnomalyDetectLib.training import random_fields as fields


def test_a_blur_is_the_gaussian_blur_of_scipy() -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 22, 24)).astype(np.float32))
    expected = ndimage.gaussian_filter(image.numpy(), 1.2, mode="nearest", truncate=2.5)
    assert np.allclose(fields.blur(image, 1.2).numpy(), expected, atol=0.02)


def test_an_identity_map_leaves_the_image_alone() -> None:
    image = torch.rand(2, 10, 12, 14)
    assert torch.allclose(fields.sample_affine(image, np.eye(4), (10, 12, 14)), image, atol=1e-5)


def test_a_shift_moves_the_image_by_whole_voxels() -> None:
    image = torch.rand(1, 10, 12, 14)
    shift = np.eye(4)
    shift[0, 3] = 2
    moved = fields.sample_affine(image, shift, (10, 12, 14))
    assert torch.allclose(moved[0, :8], image[0, 2:], atol=1e-5)


def test_a_rotation_is_a_rotation() -> None:
    matrix = fields.random_rotation(np.random.default_rng(0), 20)
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) > 0
