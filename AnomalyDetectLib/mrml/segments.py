"""The findings as segments: one segmentation whose shared label map follows the slider voxel by voxel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

if TYPE_CHECKING:
    from AnomalyDetectLib.findings.findings import Finding, Findings

BINARY_LABELMAP, CLOSED_SURFACE = "Binary labelmap", "Closed surface"
# SNOMED CT: Morphologically Altered Structure, Lesion, in the Brain.
TERMINOLOGY = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^52988006^Lesion~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
SIGNS = {"bright": "▲", "dark": "▼"}
# Behind the sign of a finding above the uncertainty limit; its surface lets light through.
UNCERTAIN, UNCERTAIN_OPACITY = "?", 0.45
# Every so many voxels a stripe of the hatching.
STRIPE = 3
# vtkSlicerSegmentationsModuleLogic::SegmentStatus
NOT_STARTED, COMPLETED, FLAGGED = 0, 2, 3
T = TypeVar("T")
STATUS = {"keep": COMPLETED, "reject": FLAGGED, None: NOT_STARTED}


class FindingsSegments:
    """Shows findings in a segmentation node.

    `show` is for a moving slider: only voxels that change are written, in place, and no segment or surface is
    made anew that need not be. `settle` is for a slider that rests: surfaces, names, states, label map.
    """

    def __init__(
        self, segmentation: Any, labelmap: Any, shape: tuple[int, int, int], hatching: Any = None
    ) -> None:
        """segmentation, labelmap: nodes on the scan's grid. shape: of the scan (i,j,k). hatching: label map
        whose stripes mark uncertain findings; None for no marks.
        """
        self.node, self.labelmap, self.shape, self.hatching = segmentation, labelmap, shape, hatching
        self._image = slicer.vtkOrientedImageData()
        self._image.SetDimensions(*shape)
        self._image.AllocateScalars(vtk.VTK_INT, 1)
        matrix = vtk.vtkMatrix4x4()
        labelmap.GetIJKToRASMatrix(matrix)
        self._image.SetImageToWorldMatrix(matrix)
        self._scalars = self._image.GetPointData().GetScalars()
        self._flat: NDArray[np.int32] = numpy_support.vtk_to_numpy(self._scalars)
        self._flat[:] = 0
        self._shown: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._hatched: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._surfaces: dict[int, tuple[int, int, int]] = {}
        if hatching is not None:
            slicer.util.arrayFromVolume(hatching)[:] = 0
        self._remove(list(self.segment_ids()))

    def segment_ids(self) -> tuple[str, ...]:
        """All segments that the node holds."""
        return tuple(self.node.GetSegmentation().GetSegmentIDs())

    def show(self, findings: Findings) -> None:
        """Show findings in the slice views; surfaces stay as they were."""
        where = fortran_order(findings.voxels, self.shape)
        self._flat[self._shown] = 0
        self._flat[where] = findings.ids[findings.ranks]
        self._shown = where
        for finding_id in self._missing(findings):
            self._add(finding_id)
        self._scalars.Modified()
        self._image.Modified()
        self._hatch(where[findings.measures.uncertain[findings.ranks]])

    def settle(self, findings: Findings, verdicts: Mapping[int, str]) -> None:
        """Show findings with surfaces, names, verdicts ("keep", "reject" by id), and the label map."""
        with slicer.util.NodeModify(self.node):
            for _ in self.settling(findings, verdicts):
                pass

    def settling(self, findings: Findings, verdicts: Mapping[int, str]) -> Iterator[None]:
        """The same in steps, a surface or a few segments each, between which the event loop may turn."""
        for some in _few(self._missing(findings)):
            with slicer.util.NodeModify(self.node):
                for finding_id in some:
                    self._add(finding_id)
            yield
        self.show(findings)
        wanted = {segment_id(finding_id) for finding_id in findings.ids.tolist()}
        with slicer.util.NodeModify(self.node):
            self._remove(name for name in self.segment_ids() if name not in wanted)
        yield
        for finding_id, own in voxels_of(findings):
            with slicer.util.NodeModify(self.node):
                self._update_surface(finding_id, own)
            yield
        for rows in _few(findings.table):
            with slicer.util.NodeModify(self.node):
                for row in rows:
                    self._describe(row, verdicts.get(row.id))
            yield
        with slicer.util.NodeModify(self.node):
            display = self.node.GetDisplayNode()
            display.SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
            display.SetPreferredDisplayRepresentationName2D(BINARY_LABELMAP)
        slicer.util.arrayFromVolume(self.labelmap).reshape(-1)[:] = self._flat
        slicer.util.arrayFromVolumeModified(self.labelmap)

    def _hatch(self, uncertain: NDArray[np.int64]) -> None:
        """Draw stripes through voxels (m,), flat in VTK's order; diagonal in every plane of the grid."""
        if self.hatching is None or not (len(uncertain) or len(self._hatched)):
            return
        flat = slicer.util.arrayFromVolume(self.hatching).reshape(-1)
        flat[self._hatched] = 0
        self._hatched = uncertain[sum(np.unravel_index(uncertain, self.shape, order="F")) % STRIPE < 1]
        flat[self._hatched] = 1
        slicer.util.arrayFromVolumeModified(self.hatching)

    def _missing(self, findings: Findings) -> list[int]:
        segmentation = self.node.GetSegmentation()
        return [one for one in findings.ids.tolist() if segmentation.GetSegment(segment_id(one)) is None]

    def _add(self, finding_id: int) -> None:
        from AnomalyDetectLib.findings.tracker import colour_of

        segment = slicer.vtkSegment()
        segment.SetName(str(finding_id))
        segment.SetColor(*colour_of(finding_id))
        segment.SetLabelValue(finding_id)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), TERMINOLOGY)
        segment.AddRepresentation(BINARY_LABELMAP, self._image)
        if self._surfaces:  # else the segmentation would make one of the whole grid
            segment.AddRepresentation(CLOSED_SURFACE, vtk.vtkPolyData())
        self.node.GetSegmentation().AddSegment(segment, segment_id(finding_id))

    def _remove(self, names: Iterable[str]) -> None:
        segmentation = self.node.GetSegmentation()
        for name in list(names):
            # Without its share of the label map a segment goes at once; with it, the whole grid is searched.
            segmentation.GetSegment(name).RemoveRepresentation(BINARY_LABELMAP)
            segmentation.RemoveSegment(name)
            self._surfaces.pop(int(name.rpartition("_")[2]) if name.startswith(PREFIX) else -1, None)

    def _update_surface(self, finding_id: int, own: NDArray[np.int32]) -> None:
        fingerprint = (len(own), int(own.astype(np.int64).sum()), hash(own.tobytes()))
        segment = self.node.GetSegmentation().GetSegment(segment_id(finding_id))
        there = segment.GetRepresentation(CLOSED_SURFACE) is not None
        if not there or self._surfaces.get(finding_id) != fingerprint:
            segment.AddRepresentation(CLOSED_SURFACE, surface_of(own, self.shape, self._image))
            self._surfaces[finding_id] = fingerprint

    def _describe(self, row: Finding, verdict: str | None) -> None:
        segment = self.node.GetSegmentation().GetSegment(segment_id(row.id))
        name = f"{row.id} {side_and_place(row)} {SIGNS[row.sign]}{UNCERTAIN if row.uncertain else ''}"
        if segment.GetName() != name:
            segment.SetName(name)
        logic = slicer.modules.segmentations.logic()
        if logic.GetSegmentStatus(segment) != STATUS[verdict]:
            logic.SetSegmentStatus(segment, STATUS[verdict])
        display = self.node.GetDisplayNode()
        display.SetSegmentVisibility(segment_id(row.id), verdict != "reject")
        display.SetSegmentOpacity3D(segment_id(row.id), UNCERTAIN_OPACITY if row.uncertain else 1.0)


PREFIX = "finding_"
FEW = 16  # segments a step


def segment_id(finding_id: int) -> str:
    """The id of a finding's segment."""
    return f"{PREFIX}{finding_id}"


def side_and_place(row: Finding) -> str:
    """Where a finding lies, as a reader would say it."""
    return f"{row.side} {row.location}".strip()


def _few(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), FEW):
        yield items[start : start + FEW]


def voxels_of(findings: Findings) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Id and flat C-order indices of each finding."""
    order = np.argsort(findings.ranks, kind="stable")
    ends = np.cumsum(findings.measures.voxels).astype(int)
    for finding_id, own in zip(findings.ids.tolist(), np.split(order, ends)[:-1], strict=True):
        yield finding_id, findings.voxels[own]


def fortran_order(voxels: NDArray[np.int32], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Flat C-order indices (m,) as flat indices of VTK's order, i the fastest."""
    i, j, k = np.unravel_index(voxels, shape)
    return np.asarray(i + shape[0] * (j + shape[1] * k), dtype=np.int64)


def surface_of(voxels: NDArray[np.int32], shape: tuple[int, int, int], like: Any) -> Any:
    """The closed surface of one finding, made by Slicer's own rule from the box that holds it.

    voxels: flat C-order indices (m,) on a grid of `shape` (i,j,k). like: vtkOrientedImageData that places it.
    """
    ijk = np.stack(np.unravel_index(voxels, shape), axis=1)
    low = ijk.min(axis=0) - 1
    size = ijk.max(axis=0) + 2 - low
    box = slicer.vtkOrientedImageData()
    extent = [int(edge) for axis in range(3) for edge in (low[axis], low[axis] + size[axis] - 1)]
    box.SetExtent(*extent)
    box.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    matrix = vtk.vtkMatrix4x4()
    like.GetImageToWorldMatrix(matrix)
    box.SetImageToWorldMatrix(matrix)
    flat = numpy_support.vtk_to_numpy(box.GetPointData().GetScalars())
    flat[:] = 0
    i, j, k = (ijk - low).T
    flat[i + size[0] * (j + size[1] * k)] = 1
    segment = slicer.vtkSegment()
    segment.SetLabelValue(1)
    segment.AddRepresentation(BINARY_LABELMAP, box)
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
    surface = vtk.vtkPolyData()
    segment.AddRepresentation(CLOSED_SURFACE, surface)
    rule.Convert(segment)
    return segment.GetRepresentation(CLOSED_SURFACE)
