"""Keys that work wherever the mouse is, while the module is open, and nowhere else."""

import qt
import slicer
import slicer.util


class Shortcuts:
    """Keys by their sequence; H is different: it acts while it is held."""

    def __init__(self, parent, keys, hold):
        """keys: slot by sequence. hold: called with True when H goes down and with False when it comes up."""
        self._window = main_window() or parent
        self._sequences = tuple(keys)
        self._lent = []
        self._all = []
        for sequence, slot in keys.items():
            shortcut = qt.QShortcut(qt.QKeySequence(sequence), self._window)
            shortcut.setContext(qt.Qt.ApplicationShortcut)
            shortcut.setAutoRepeat(sequence in ("N", "P"))
            shortcut.connect("activated()", slot)
            shortcut.setEnabled(False)
            self._all.append(shortcut)
        self._held = HeldKey(hold)

    def enable(self, enabled):
        """Switch them all."""
        self._borrow() if enabled else self._give_back()
        for shortcut in self._all:
            shortcut.setEnabled(enabled)
        # On the application: a view that the reader has clicked keeps key presses to itself.
        if enabled:
            qt.QApplication.instance().installEventFilter(self._held)
        else:
            qt.QApplication.instance().removeEventFilter(self._held)
            self._held.release()

    def _borrow(self):
        """Take our keys from the application's menus: of two owners of a key Qt serves neither."""
        for action in self._window.findChildren(qt.QAction):
            key = action.shortcut
            if key.toString() in self._sequences:
                self._lent.append((action, key))
                action.setShortcut(qt.QKeySequence())

    def _give_back(self):
        for action, key in self._lent:
            action.setShortcut(key)
        self._lent = []


class HeldKey(qt.QWidget):
    """Tells when H goes down and comes up, without the repeats of a held key, and not while one types."""

    def __init__(self, hold):
        qt.QWidget.__init__(self)
        self._hold = hold
        self._down = False

    def eventFilter(self, watched, event):
        """True for the events that are ours."""
        kind = event.type()
        if kind == qt.QEvent.ApplicationDeactivate:
            self.release()  # it comes up in another window, and nobody tells
        if kind not in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease) or event.key() != qt.Qt.Key_H:
            return False
        if not self._down and (event.modifiers() != qt.Qt.NoModifier or writes_text()):
            return False
        if not event.isAutoRepeat() and self._down != (kind == qt.QEvent.KeyPress):
            self._down = kind == qt.QEvent.KeyPress
            self._hold(self._down)
        return True

    def release(self):
        """As if the key came up."""
        if self._down:
            self._down = False
            self._hold(False)


def writes_text():
    """Whether the focus is where letters go."""
    fields = (qt.QLineEdit, qt.QTextEdit, qt.QPlainTextEdit, qt.QAbstractSpinBox)
    return isinstance(qt.QApplication.focusWidget(), fields)


def main_window():
    """Slicer's main window, or None."""
    try:
        return slicer.util.mainWindow()
    except (RuntimeError, AttributeError):
        return None
