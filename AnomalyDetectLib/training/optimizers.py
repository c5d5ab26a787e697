"""What turns gradients into updates: AdamW, or Muon for the convolutions beside AdamW for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn, optim

from AnomalyDetectLib.errors import AnomalyDetectError

ADAMW, MUON = "adamw", "muon"
OPTIMIZERS = (ADAMW, MUON)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def make_optimizers(
    network: nn.Module, kind: str, learning_rate: float, weight_decay: float
) -> list[optim.Optimizer]:
    """What updates all weights of a network.

    muon: the kernels of the convolutions that a normalisation follows, which have no bias, are turned as
    matrices (out, in x kernel) by their orthogonalised momentum (Jordan et al., "Muon", 2024), scaled to the
    size of Adam's steps (Liu et al., "Muon is scalable for LLM training", 2025), so that one learning rate
    serves both. Raises `AnomalyDetectError` where PyTorch is too old for it, or no kernel is there for it.
    """
    if kind == ADAMW:
        return [optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)]
    if not hasattr(optim, "Muon"):
        raise AnomalyDetectError(
            f"optimizer {MUON!r} needs PyTorch 2.9 or newer, this is {torch.__version__}; "
            f"update it, or ask for {ADAMW!r}"
        )
    kernels = [m.weight for m in network.modules() if isinstance(m, CONVOLUTIONS) and m.bias is None]
    if not kernels:
        raise AnomalyDetectError(
            f"optimizer {MUON!r}: the network has no convolution without a bias; ask for {ADAMW!r}"
        )
    matrices = [nn.Parameter(in_rows(kernel.data, kernel).view(len(kernel), -1)) for kernel in kernels]
    own = {id(kernel) for kernel in kernels}
    rest = [weight for weight in network.parameters() if id(weight) not in own]

    def hand_over_gradients(*_: object) -> None:
        for matrix, kernel in zip(matrices, kernels, strict=True):
            matrix.grad = None if kernel.grad is None else in_rows(kernel.grad, kernel).flatten(1)

    muon = optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    muon.register_step_pre_hook(hand_over_gradients)
    return [optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay), muon]


def in_rows(values: Tensor, kernel: Tensor) -> Tensor:
    """A kernel's weights or gradients (out, ...), in the order in which its weights lie in memory: Muon's
    matrices share it. In which order columns come doesn't matter to Muon.
    """
    return values if kernel.is_contiguous() else values.movedim(1, -1)
