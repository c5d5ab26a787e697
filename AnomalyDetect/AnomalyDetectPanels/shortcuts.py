"""Keys that work wherever the mouse is, while the module is open, and nowhere else."""

import qt
import slicer
import slicer.util


class Shortcuts:
    """Keys by their sequence; H is different: it acts while it is held."""

    def __init__(self, parent, keys, hold):
        """keys: slot by sequence. hold: called with True when H goes down and with False when it comes up."""
        window = main_window() or parent
        self._all = []
        for sequence, slot in keys.items():
            shortcut = qt.QShortcut(qt.QKeySequence(sequence), window)
            shortcut.setContext(qt.Qt.ApplicationShortcut)
            shortcut.setAutoRepeat(sequence in ("N", "P"))
            shortcut.connect("activated()", slot)
            shortcut.setEnabled(False)
            self._all.append(shortcut)
        self._held = HeldKey(hold)
        self._window = window

    def enable(self, enabled):
        """Switch them all."""
        for shortcut in self._all:
            shortcut.setEnabled(enabled)
        if enabled:
            self._window.installEventFilter(self._held)
        else:
            self._window.removeEventFilter(self._held)


class HeldKey(qt.QWidget):
    """Tells when H goes down and comes up, without the repeats of a held key."""

    def __init__(self, hold):
        qt.QWidget.__init__(self)
        self._hold = hold

    def eventFilter(self, watched, event):
        """True for the events that are ours."""
        kind = event.type()
        if kind not in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease) or event.key() != qt.Qt.Key_H:
            return False
        if not event.isAutoRepeat():
            self._hold(kind == qt.QEvent.KeyPress)
        return True


def main_window():
    """Slicer's main window, or None."""
    try:
        return slicer.util.mainWindow()
    except (RuntimeError, AttributeError):
        return None
