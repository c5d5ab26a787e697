"""A wider network that begins with what a narrower one has learnt: channels are copied and share their
influence.

After Chen, Goodfellow and Shlens, "Net2Net: Accelerating learning via knowledge transfer" (ICLR 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUPS = 8  # of the group normalisation: a copy joins its original's, whose mean and SD stay
NOISE = 0.2  # of a weight's SD: copies that are alike would stay alike


def widened(loaded: dict[str, Tensor], own: dict[str, Tensor], narrow: int, wide: int) -> dict[str, Tensor]:
    """The weights `loaded` for a network whose levels of `narrow` channels have `wide` ones in `own`.

    narrow, wide: multiples of 8, wide a multiple of narrow. Outputs are copied; inputs, also where several
    levels are joined, are copied and divided by the number of copies. Noise tells the copies apart. What
    doesn't fit in this way is returned as it is.
    """
    order = _order(narrow, wide)
    generator = torch.Generator().manual_seed(0)
    result = {}
    for name, value in loaded.items():
        target = own[name].shape if name in own else value.shape
        for axis in range(min(value.ndim, 2)):
            blocks, odd = divmod(value.shape[axis], narrow)
            if target[axis] == value.shape[axis] or odd or target[axis] != blocks * wide:
                continue
            index = torch.cat([order + block * narrow for block in range(blocks)])
            value = value.index_select(axis, index)
            if axis == 1:
                value = value * narrow / wide
            if value.ndim > 1:
                value = value + NOISE * value.std() * torch.randn(value.shape, generator=generator)
        result[name] = value
    return result


def _order(narrow: int, wide: int) -> Tensor:
    """Which narrow channel each wide one copies, group by group."""
    in_groups = torch.arange(narrow).view(GROUPS, -1)
    return in_groups.repeat(1, wide // narrow).flatten()
