"""Draw the icon: a brain from above with one finding. `python Testing/packaging/icon.py` writes it."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

ICON = Path(__file__).resolve().parents[2] / "AnomalyDetect" / "Resources" / "Icons" / "AnomalyDetect.png"
SIZE, FINE = 128, 8  # pixels of the icon; times finer while drawing
GREY, EDGE, FOLD = (176, 186, 200, 255), (58, 68, 84, 255), (112, 124, 142, 255)
ORANGE, GLOW = (240, 120, 20, 255), (255, 214, 120, 255)


def hemisphere(side: int) -> list[tuple[float, float]]:
    """The outline of one half in icon pixels, gently wavy like the cortex; side: -1 left, 1 right."""
    points = []
    for step in range(181):
        angle = math.pi * step / 180
        wave = 1 + 0.025 * math.sin(11 * angle)
        across = 2.5 + 46 * math.sin(angle) ** 0.8 * wave
        along = -56 * math.cos(angle) * (1 + 0.012 * math.sin(9 * angle))
        points.append((SIZE / 2 + side * across, SIZE / 2 + along))
    return points


def fold(side: int, top: float, reach: float, depth: float) -> list[tuple[float, float]]:
    """A sulcus: a line that runs inwards from the cortex and bends."""
    line = []
    for step in range(31):
        share = step / 30
        across = 42 - reach * share
        along = top + depth * math.sin(2.4 * share) + 3 * math.sin(7 * share)
        line.append((SIZE / 2 + side * across, along))
    return line


def draw() -> Image.Image:
    """The icon, RGBA, on a transparent ground."""
    image = Image.new("RGBA", (SIZE * FINE, SIZE * FINE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)

    def fine(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * FINE, y * FINE) for x, y in points]

    for side in (-1, 1):
        outline = fine(hemisphere(side))
        pen.polygon(outline, fill=GREY)
        pen.line([*outline, outline[0], outline[1]], fill=EDGE, width=4 * FINE, joint="curve")
        for top, reach, depth in ((36, 24, 8), (60, 28, -7), (84, 24, 7)):
            pen.line(fine(fold(side, top, reach, depth)), fill=FOLD, width=4 * FINE, joint="curve")
    x, y = 88, 50
    for radius, colour in ((21, EDGE), (18.5, ORANGE), (12.5, GREY), (9, ORANGE), (5, GLOW)):
        box = [(x - radius) * FINE, (y - radius) * FINE, (x + radius) * FINE, (y + radius) * FINE]
        pen.ellipse(box, fill=colour)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    ICON.parent.mkdir(parents=True, exist_ok=True)
    draw().save(ICON, optimize=True)
