"""Colour tables of the overlays: symmetric and colour-blind safe, with normal values left transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from vtk.util import numpy_support

N_COLOURS = 1024
# Dark to bright: darker than expected is blue, brighter is orange (told apart by every common colour vision).
DARK = np.array([[0.75, 0.92, 1.0], [0.13, 0.55, 0.95], [0.02, 0.15, 0.55]])
BRIGHT = np.array([[1.0, 0.93, 0.7], [1.0, 0.55, 0.05], [0.65, 0.15, 0.0]])
SEQUENTIAL = np.array([[0.25, 0.25, 0.28], [0.55, 0.5, 0.6], [0.9, 0.85, 0.95]])
HATCHING = (0.62, 0.62, 0.65)

Colours = NDArray[np.float64]


def diverging(limit: float, shown_from: float) -> Colours:
    """RGBA (n,4) of values from -limit to limit; transparent where |value| < shown_from."""
    values = np.linspace(-limit, limit, N_COLOURS)
    share = np.abs(values) / limit
    rgb = np.where((values < 0)[:, None], _ramp(DARK, share), _ramp(BRIGHT, share))
    return np.column_stack([rgb, np.abs(values) >= shown_from])


def sequential(limit: float, shown_from: float) -> Colours:
    """RGBA (n,4) of values from 0 to limit; transparent below shown_from."""
    values = np.linspace(0, limit, N_COLOURS)
    return np.column_stack([_ramp(SEQUENTIAL, values / limit), values >= shown_from])


def colour_table(name: str, colours: Colours) -> Any:
    """A new colour node with these colours."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetHideFromEditors(True)
    node.SetNumberOfColors(len(colours))
    for index in range(len(colours)):
        node.SetColor(index, *colours[index])
        node.SetColorName(index, str(index))
    return node


def set_colours(node: Any, colours: Colours) -> None:
    """Replace a colour node's colours, all at once: this is what a moving slider calls."""
    table = numpy_support.vtk_to_numpy(node.GetLookupTable().GetTable())
    table[:] = np.round(colours * 255).astype(np.uint8)
    node.GetLookupTable().GetTable().Modified()
    node.GetLookupTable().Modified()
    node.Modified()


def _ramp(stops: Colours, share: NDArray[np.float64]) -> Colours:
    """Colours (n,3) along the stops, share 0 to 1."""
    at = np.linspace(0, 1, len(stops))
    return np.column_stack([np.interp(share, at, stops[:, channel]) for channel in range(3)])
