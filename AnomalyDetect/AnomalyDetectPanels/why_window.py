"""The window that shows why a finding is one, beside the views and never before them."""

import qt

from AnomalyDetectPanels.shortcuts import main_window

# What most screens show whole; a larger picture is made smaller.
WIDEST, HIGHEST = 1760, 1000


class WhyWindow:
    """One window, filled anew for each finding."""

    def __init__(self):
        self.label = None

    def show(self, picture, title):
        """Show a PNG file; the focus stays where it is."""
        if self.label is None:
            self.label = qt.QLabel(main_window())
            self.label.setWindowFlags(qt.Qt.Window)
            self.label.setAttribute(qt.Qt.WA_ShowWithoutActivating)
        pixmap = qt.QPixmap(picture)
        if pixmap.width() > WIDEST or pixmap.height() > HIGHEST:
            pixmap = pixmap.scaled(WIDEST, HIGHEST, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
        self.label.setPixmap(pixmap)
        self.label.setFixedSize(pixmap.width(), pixmap.height())
        self.label.setWindowTitle(title)
        self.label.show()

    def close(self):
        """Take it away."""
        if self.label is not None:
            self.label.hide()
