"""Masked rebuild: every part of the brain is hidden once and predicted from what is around it and on the
other side, so that a lesion can't copy itself; what stands out is hidden as a whole and predicted once more.

Hiding and predicting after Zimmerer et al., "Context-encoding variational autoencoder" (2018), and He et al.,
"Masked autoencoders are scalable vision learners" (CVPR 2022), here in three dimensions, cube by cube.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from AnomalyDetectLib.models.anatomy import AnatomyNetwork, Restored, asymmetry_of, levels, to_input
from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.rebuild import Rebuild
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.volume import FloatArray

CUBE = 10  # voxels of 2 mm: what is hidden at once
OFFSETS = (0, CUBE // 2)  # of the tilings, which overlap
STANDS_OUT = 2.5  # standard deviations of the prediction
AROUND = 5  # voxels: how wide what stands out is widened, so that no rim of a lesion stays to be copied


class MaskedNetwork(AnatomyNetwork):
    """An anatomy network that is also told what is hidden from it."""

    inputs = 9

    def predict(self, image: Tensor, hidden: Tensor, told: Tensor | None = None) -> Restored:
        """From a brain (B,1,X,Y,Z) in input units, 0 outside the brain, of which it doesn't see what is
        `hidden`, bool (B,1,X,Y,Z), nor the asymmetry there. told: bool (B,), whether it sees that of the
        rest; None: it does.
        """
        seen = image.masked_fill(hidden, 0)
        asymmetry = asymmetry_of(seen)
        if told is not None:
            asymmetry = asymmetry * told.view(-1, 1, 1, 1, 1)
        return self.restore(seen, asymmetry, hidden.to(seen.dtype))


def tiling(shape: tuple[int, ...], cube: int, offset: int) -> Tensor:
    """Eight masks, bool (8,X,Y,Z), of cubes of `cube` voxels, each as far from the next as it is wide; every
    voxel is in one of them.
    """
    parity = [((torch.arange(size) + offset) // cube) % 2 for size in shape]
    number = 4 * parity[0][:, None, None] + 2 * parity[1][:, None] + parity[2]
    return torch.stack([number == one for one in range(8)])


class MaskedRebuild:
    """The model: two tilings of eight passes each, and a last one over what stood out."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = MaskedNetwork()
        self.network.load_state_dict(card.tensors())
        self.network.eval()

    def rebuild(self, prepared: Prepared, device: str = "cpu") -> Rebuild:
        """healthy: mean of the predictions, where each voxel was hidden. variance: the predicted one and the
        spread between the tilings.
        """
        network, brain = self.network.to(device), torch.from_numpy(prepared.brain)
        image = prepared.tensor[0, 0]
        middle, unit = levels(image, brain)
        scan = to_input(image, brain, middle, unit)[None, None].to(device)
        with torch.inference_mode():
            healthy, variance = hidden_once(network, scan)
            unusual = (scan - healthy).abs() > STANDS_OUT * variance.sqrt()
            unusual = functional.max_pool3d(unusual.float(), AROUND, 1, AROUND // 2) > 0
            again = network.predict(scan, unusual)
            healthy = torch.where(unusual, again.healthy, healthy)
            variance = torch.where(unusual, again.log_variance.exp(), variance)

        def inside(values: Tensor) -> FloatArray:
            return values[0, 0].cpu().masked_fill(~brain, 0).numpy()

        return Rebuild(healthy=inside(healthy * unit + middle), variance=inside(variance * unit**2))


def hidden_once(network: MaskedNetwork, scan: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the predictions of each voxel (1,1,X,Y,Z) where it was hidden, input units."""
    means, variances = [], []
    for offset in OFFSETS:
        mean, variance = torch.zeros_like(scan), torch.zeros_like(scan)
        for mask in tiling(tuple(scan.shape[2:]), CUBE, offset):
            hidden = mask[None, None].to(scan.device)
            seen = network.predict(scan, hidden)
            mean = torch.where(hidden, seen.healthy, mean)
            variance = torch.where(hidden, seen.log_variance.exp(), variance)
        means.append(mean)
        variances.append(variance)
    between = torch.stack(means).var(0, correction=0)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0) + between
