"""Gaussian densities of healthy features, stored as buffers so that they travel with the weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LEAST_SAMPLES = 2.0  # a feature: fewer don't make a covariance, and the pooled one is taken
SMALLEST_SHARE = 1e-3  # of the mean variance: floor of every direction's, since fp16 weights resolve no less


class GaussianDensity(nn.Module):
    """One Gaussian for each of `places`, `features` wide; `distance` is Mahalanobis's."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, features: int, places: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(places, features))
        self.register_buffer("whitening", torch.eye(features).repeat(places, 1, 1))

    def fit(self, features: Tensor, place: Tensor) -> None:
        """Fit to features (N,C), each of one place (N,), with Ledoit and Wolf's shrinkage (2004)."""
        values, where = features.double().cpu().numpy(), place.cpu().numpy()
        self.mean[:], self.whitening[:] = (torch.from_numpy(one) for one in gaussian(values))
        for number in np.unique(where) if len(self.mean) > 1 else ():
            own = values[where == number]
            if len(own) >= LEAST_SAMPLES * values.shape[1]:
                self.mean[number], self.whitening[number] = (torch.from_numpy(one) for one in gaussian(own))

    def distance(self, features: Tensor, place: Tensor) -> Tensor:
        """Mahalanobis distance (N,) of features (N,C), each to the Gaussian of its place (N,)."""
        centred = features - self.mean[place]
        if len(self.mean) == 1:
            white = centred @ self.whitening[0].T
        else:
            white = torch.einsum("ncd,nd->nc", self.whitening[place], centred)
        distance: Tensor = torch.linalg.vector_norm(white, dim=1)
        return distance


def gaussian(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (C,) and whitening matrix (C,C) of samples (N,C): whitening @ (x - mean) has unit covariance."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(values)
    values_of, directions = np.linalg.eigh(fitted.covariance_)
    floor = max(SMALLEST_SHARE * float(values_of.mean()), 1e-8)
    return fitted.location_, (directions / np.sqrt(np.maximum(values_of, floor))).T
