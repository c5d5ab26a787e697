"""The network of a sequence asked by every method that it can be asked by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from AnomalyDetectLib.devices import bytes_needed, with_room
from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.explain.attribution import Occlusion, grad_cam, integrated_gradients, occlusion
from AnomalyDetectLib.explain.parts import Parts
from AnomalyDetectLib.explain.target import target_of
from AnomalyDetectLib.explain.views import SequenceView
from AnomalyDetectLib.models.differentiable import Explainable
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.volume import FloatArray

GRADIENTS, OCCLUSION, GRAD_CAM = "integrated_gradients", "occlusion", "grad_cam"
WITH_GRADIENTS = 8  # times the memory of a pass without


@dataclass(frozen=True)
class Attribution:
    """Where a finding's score comes from, all (X,Y,Z) on the working grid of the sequence that carried it.

    gradients: integrated gradients, z a voxel. gap: by how much their sum misses the difference of both
    scans' targets, z. grad_cam: 0-1. Of what the model can't give, None; left_out: why, by name.
    target: mean z of the scan by the one pass that was explained; healthy_target: of the healthy version.
    """

    gradients: FloatArray | None = None
    gap: float | None = None
    occlusion: Occlusion | None = None
    grad_cam: FloatArray | None = None
    target: float | None = None
    healthy_target: float | None = None
    left_out: dict[str, str] = field(default_factory=dict)


def healthy_reference(rebuild: Rebuild) -> FloatArray | None:
    """The healthy version (X,Y,Z) that the score compares the scan with: the painted anatomy where there is
    one, for the other keeps what the network is in doubt about; None where the model has neither.
    """
    return rebuild.healthy if rebuild.expected is None else rebuild.expected


def attributed(
    view: SequenceView,
    parts: Parts,
    sign: int,
    cancelled: Callable[[], bool] = lambda: False,
    occluding: Callable[[], None] = lambda: None,
) -> Attribution:
    """Ask the model of a sequence what it looked at; what it can't be asked for is named with the reason.

    sign: of the finding. occluding: called before the passes of the occlusion. Raises `Cancelled`.
    """
    prepared, detector = view.scan.prepared, view.scan.detector
    model, every = detector.model, (GRADIENTS, OCCLUSION, GRAD_CAM)
    if not isinstance(model, Explainable):
        reason = f"{detector.card.name} has no network that could be asked"
        return Attribution(left_out=dict.fromkeys(every, reason))
    needed = np.any([weight != 0 for weight in parts.weights.values()], axis=0)

    def work(device: str) -> Attribution:
        target = target_of(
            view, parts, model.differentiable(prepared, needed, device), sign, cancelled, device
        )
        image, left_out = prepared.tensor.to(device), {}
        with torch.no_grad():
            found = Attribution(target=float(target(image)))
        if target.model.layer is None:
            left_out[GRAD_CAM] = f"{detector.card.name}'s network has no encoder of its own"
        else:
            found = replace(found, grad_cam=grad_cam(target, image))
        reference = healthy_reference(view.rebuild)
        if reference is None:
            reason = f"{detector.card.name} makes no healthy version to compare the scan with"
            return replace(found, left_out=left_out | dict.fromkeys((GRADIENTS, OCCLUSION), reason))
        healthy = torch.from_numpy(reference)[None, None].to(device)
        gradients, gap = integrated_gradients(target, image, healthy)
        with torch.no_grad():
            baseline = float(target(healthy))
        occluding()
        return replace(
            found,
            healthy_target=baseline,
            gradients=gradients,
            gap=gap,
            occlusion=occlusion(target, image, healthy, view.inside, prepared.brain),
            left_out=left_out,
        )

    try:
        return with_room(work, detector.device, WITH_GRADIENTS * bytes_needed(prepared.tensor.numel()))[0]
    except ModelError as error:
        return Attribution(left_out=dict.fromkeys(every, str(error)))
