"""The reader's volume: whether it can be a scan, and how its voxels lie.

Transforms above a scan never enter a detection: results lie on the scan's own grid and go under the same
transform, linear or not, so they stay on the scan whatever moves it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

FEWEST_VOXELS = 5


def why_not_a_scan(node: Any) -> str:
    """Why a volume node can't be searched for anomalies, in words for the reader; "" when it can."""
    if node is None:
        return "choose a volume"
    if node.IsA("vtkMRMLLabelMapVolumeNode") or node.IsA("vtkMRMLSegmentationNode"):
        return "this is a label map; choose the scan that it was drawn on"
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        return "this is not a volume; choose a scan"
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return "this volume holds no voxels; load the scan again"
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        return f"this volume has {components} values a voxel; choose a scan with one, such as a T1 scan"
    if min(image.GetDimensions()) < FEWEST_VOXELS:
        shape = " × ".join(str(size) for size in image.GetDimensions())
        return f"this volume has {shape} voxels; choose a whole 3-D scan"
    return ""


def why_not_a_mask(mask: Any, scan: Any) -> str:
    """Why a label map can't be the brain mask of a scan; "" when it can, or when there is none."""
    if mask is None or scan is None:
        return ""
    image = mask.GetImageData()
    if image is None or image.GetDimensions() != scan.GetImageData().GetDimensions():
        return "the brain mask lies on another grid; resample it to the scan"
    if not np.allclose(affine(mask), affine(scan), atol=0.05):
        return "the brain mask lies elsewhere than the scan; resample it to the scan"
    return ""


def why_not_also(also: Any, scan: Any) -> str:
    """Why a volume can't be the second sequence beside a scan; "" when it can, or when there is none."""
    if also is None:
        return ""
    if also is scan:
        return "the second sequence is the scan itself; choose another one of the same patient, or none"
    reason = why_not_a_scan(also)
    return f"second sequence: {reason}" if reason else ""


def affine(node: Any) -> NDArray[np.float64]:
    """4x4 IJK to RAS, mm, of a volume node itself, without the transforms above it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def set_affine(node: Any, ijk_to_ras: NDArray[np.floating[Any]]) -> None:
    """Place a volume node's voxels; 4x4 IJK to RAS, mm."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(ijk_to_ras[row, column]))
    node.SetIJKToRASMatrix(matrix)


def voxels(node: Any) -> NDArray[Any]:
    """The voxels (i,j,k) of a volume node, without a copy."""
    array: NDArray[Any] = np.asarray(slicer.util.arrayFromVolume(node)).T
    return array


def world_point(node: Any, ras_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Where a point of the node's own RAS space lies in the world, mm, under any transform."""
    point = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(list(ras_mm), point)
    return (point[0], point[1], point[2])


def describe(node: Any) -> str:
    """Voxel size and matrix in one line for the reader."""
    spacing = " × ".join(f"{size:.2g}" for size in node.GetSpacing())
    shape = " × ".join(str(size) for size in node.GetImageData().GetDimensions())
    return f"{spacing} mm, {shape} voxels"
