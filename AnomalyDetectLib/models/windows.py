"""Windows: the same CT slice with other parts of its grey values stretched, as a radiologist turns the knob.

Emulated from one brain window of about 0-80 HU: where the original is 8-bit there is nothing outside of it.
In working units 0.9 is the median of the brain and one unit about 40 HU.
"""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 2.0  # working units that every window is stretched to
NARROW = (0.6, 1.2)  # around healthy brain, whose 5th to 95th percentile is 0.7 to 1.07: oedema, fresh blood
HIGH = (1.0, 2.0)  # from above healthy brain to the top of the window: blood, calcium, bone
WINDOWS = 3


def windows(image: Tensor) -> Tensor:
    """The brain window as it is, the narrow and the high one: (B,1,H,W) to (B,3,H,W), 0-2 like the first."""
    stretched = [((image - low) / (high - low)).clamp(0, 1) * WHOLE for low, high in (NARROW, HIGH)]
    return torch.cat([image, *stretched], 1)
