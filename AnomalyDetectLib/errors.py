"""The one family of errors that bad input, bad settings and a bad installation raise."""

from __future__ import annotations


class AnomalyDetectError(Exception):
    """What went wrong, with the value, and what to do about it, in one line that a reader can act on."""


class VolumeError(AnomalyDetectError):
    """A file or an array is not a single scalar 3-D volume that can be placed in patient space."""


class SingularAffineError(VolumeError):
    """The affine maps the voxel grid onto a plane, a line or a point, or holds values that are not finite."""


class PreparationError(AnomalyDetectError):
    """The scan can't be brought onto the working grid: no brain, failed alignment, mask on another grid."""


class ScanRefused(AnomalyDetectError):
    """The scan-fit gate found that no honest answer can be given for this scan."""


class ModelError(AnomalyDetectError):
    """A model is unknown, its weights are missing, damaged or of another version."""


class FindingsSettingsError(AnomalyDetectError):
    """A setting of the findings engine lies outside its allowed range."""


class CaseError(AnomalyDetectError):
    """A folder is no case that `run` wrote, lacks what is asked of it, or its scan isn't there."""


class OutputError(AnomalyDetectError):
    """Results can't be written where they were asked for."""


class Cancelled(AnomalyDetectError):
    """The caller asked to stop."""
