"""The small plot under the main slider: findings against threshold, and what healthy brains show."""

import qt
from slicer.i18n import tr as _

WIDTH, HEIGHT, FOOT = 340, 84, 14
BAND, OURS, PLACE, WRITING = (205, 205, 205), (0, 90, 180), (213, 94, 0), (90, 90, 90)


def draw(curves, threshold, width=WIDTH, height=HEIGHT):
    """A pixmap of the curves (`findings.curves.Curves`), with a line at the threshold in z."""
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(qt.QColor("white"))
    painter = qt.QPainter()
    painter.begin(pixmap)
    top = max(float(curves.numbers.max()), 4.0)
    low, high = float(curves.thresholds[0]), float(curves.thresholds[-1])

    def x(z):
        return int((z - low) / (high - low) * (width - 1))

    def y(number):
        # A square root: few findings matter most.
        return int((height - FOOT - 2) * (1 - (min(float(number), top) / top) ** 0.5))

    if curves.healthy is not None:
        _draw_band(painter, curves, x, y)
    points = [(x(z), y(curves.numbers[index])) for index, z in enumerate(curves.thresholds)]
    painter.setPen(qt.QColor(*OURS))
    for index in range(1, len(points)):
        painter.drawLine(*points[index - 1], *points[index])
    painter.setPen(qt.QColor(*PLACE))
    painter.drawLine(x(threshold), 0, x(threshold), height - FOOT)
    _write(painter, curves, top, width, height)
    painter.end()
    return pixmap


def _draw_band(painter, curves, x, y):
    """What healthy brains show, low to high."""
    for index, z in enumerate(curves.thresholds):
        left, right = x(z), x(curves.thresholds[min(index + 1, len(curves.thresholds) - 1)])
        above, below = y(curves.healthy.high[index]), y(curves.healthy.low[index])
        painter.fillRect(left, above, max(right - left, 1), max(below - above, 1), qt.QColor(*BAND))


def _write(painter, curves, top, width, height):
    """The axes' ends in words: a reader has no time for ticks."""
    font = painter.font()
    font.setPixelSize(10)
    painter.setFont(font)
    foot = height - FOOT
    for place, text, colour in (
        ((0, foot, width, FOOT, qt.Qt.AlignLeft), f"z {float(curves.thresholds[0]):.1f}", WRITING),
        ((0, foot, width, FOOT, qt.Qt.AlignRight), f"{float(curves.thresholds[-1]):.1f}", WRITING),
        ((0, foot, width, FOOT, qt.Qt.AlignHCenter), _("grey: healthy brains"), WRITING),
        ((0, 0, width - 2, FOOT, qt.Qt.AlignRight), _("findings, up to {n:.0f}").format(n=top), OURS),
    ):
        painter.setPen(qt.QColor(*colour))
        painter.drawText(*place, text)
