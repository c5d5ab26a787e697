"""The small plot under the main slider: findings against threshold, and what healthy brains show."""

import qt

WIDTH, HEIGHT = 320, 70


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
        return int((height - 2) * (1 - (min(float(number), top) / top) ** 0.5))

    points = range(len(curves.thresholds))
    if curves.healthy is not None:
        band = qt.QColor(190, 190, 190)
        for index in points:
            left = x(curves.thresholds[index])
            right = x(curves.thresholds[min(index + 1, len(curves.thresholds) - 1)])
            above, below = y(curves.healthy.high[index]), y(curves.healthy.low[index])
            painter.fillRect(left, above, max(right - left, 1), max(below - above, 1), band)
    painter.setPen(qt.QColor(0, 90, 180))
    for index in points[1:]:
        before = (x(curves.thresholds[index - 1]), y(curves.numbers[index - 1]))
        painter.drawLine(*before, x(curves.thresholds[index]), y(curves.numbers[index]))
    painter.setPen(qt.QColor(213, 94, 0))
    painter.drawLine(x(threshold), 0, x(threshold), height)
    painter.end()
    return pixmap
