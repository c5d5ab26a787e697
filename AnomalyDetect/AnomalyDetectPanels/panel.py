"""What every panel is: a .ui file, the module's logic, and the calls that the shell makes."""

import slicer
import slicer.util


class Panel:
    """One task. `shell` is the module's widget; panels talk to each other through it alone."""

    ui_file = ""

    def __init__(self, shell):
        self.shell = shell
        self.logic = shell.logic
        self.widget = slicer.util.loadUI(shell.resourcePath(f"UI/{self.ui_file}.ui"))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)

    @property
    def parameters(self):
        """The parameter node's wrapper, None while no scene is ready."""
        return self.shell.parameters

    @property
    def case(self):
        """The open case, or None."""
        return self.logic.case

    def refresh(self):
        """Show what is; called whenever parameters or the case change."""

    def on_message(self, message):
        """A message of a run (see AnomalyDetectLib.mrml.detection_run)."""

    def enable(self, button, why_not, tip):
        """A disabled button says why in its tool tip."""
        button.enabled = not why_not
        button.toolTip = why_not or tip

    def choose(self, box, value):
        """Select an entry of a combo box by its data, without a signal."""
        blocked = box.blockSignals(True)
        box.setCurrentIndex(max(box.findData(value), 0))
        box.blockSignals(blocked)
