"""Evidence: the signed maps on the working grid that speak for an anomaly, before they are compared with
healthy scans.
"""

from __future__ import annotations

import numpy as np

from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import FloatArray, smooth

RESIDUAL, ANOMALY = "residual", "anomaly"
SIGN_SIGMA = 1.0


def residual(prepared: Prepared, rebuild: Rebuild) -> FloatArray:
    """Scan minus healthy version (X,Y,Z), working units, 0 outside the brain; 0 where the model rebuilds
    nothing.
    """
    image = prepared.tensor[0, 0].numpy()
    if rebuild.healthy is None:
        return np.zeros_like(image)
    return np.where(prepared.brain, image - rebuild.healthy, 0).astype(np.float32)


def evidence(prepared: Prepared, rebuild: Rebuild) -> dict[str, FloatArray]:
    """Signed maps (X,Y,Z) by name.

    residual: scan minus healthy, working units. anomaly: the predicted probability with the sign of the
    smoothed residual, where the model predicts one.
    """
    signed = residual(prepared, rebuild)
    maps = {RESIDUAL: signed}
    if rebuild.anomaly is not None:
        side = np.sign(smooth(signed, (SIGN_SIGMA, SIGN_SIGMA, SIGN_SIGMA)))
        maps[ANOMALY] = (np.where(side == 0, 1, side) * rebuild.anomaly).astype(np.float32)
    return maps
