"""Look: which map lies over the scan, how strongly, and in which layout."""

from slicer.i18n import tr as _

from AnomalyDetectLib.mrml import views
from AnomalyDetectPanels.panel import Panel

OVERLAYS = ("score", "residual", "uncertainty", "healthy")


class LookPanel(Panel):
    """Overlay, opacity, outlines, flicker and layout."""

    ui_file = "AnomalyDetectLook"

    def __init__(self, shell):
        super().__init__(shell)
        self._own_layout = None
        for name in OVERLAYS:
            getattr(self.ui, f"{name}Button").connect(
                "clicked()", lambda name=name: self.choose_overlay(name)
            )
        self.ui.flickerButton.connect("pressed()", lambda: self.flicker(True))
        self.ui.flickerButton.connect("released()", lambda: self.flicker(False))
        self.ui.compareButton.connect("clicked()", lambda: self.show_layout("compare"))
        self.ui.planesButton.connect("clicked()", lambda: self.show_layout("planes"))
        self.ui.ownLayoutButton.connect("clicked()", self.restore_layout)

    def refresh(self):
        """Put the layers into the views."""
        why_not = "" if self.case is not None else _("detect anomalies first")
        for button, tip in (
            (self.ui.flickerButton, _("While it is held down, the healthy version takes the scan's place.")),
            (self.ui.compareButton, _("Shows scan, healthy version and score side by side, linked.")),
            (self.ui.planesButton, _("Shows axial, coronal, sagittal and 3-D views.")),
        ):
            self.enable(button, why_not, tip)
        if self.parameters is None:
            return
        getattr(self.ui, f"{self.parameters.overlay}Button").checked = True
        if self.case is not None and self.case.nodes.alive:
            look = views.Look(
                self.parameters.overlay, self.parameters.opacity, bool(self.parameters.outlineOnly)
            )
            views.show_layers(self.case.nodes, look)

    def choose_overlay(self, name):
        """Show another map over the scan."""
        if self.parameters is not None:
            self.parameters.overlay = name

    def flicker(self, healthy):
        """The healthy version in the scan's place, and back."""
        if self.case is not None:
            views.flicker(self.case.nodes, healthy)

    def show_layout(self, name):
        """Our layout; the reader's own is remembered."""
        before = views.show_layout(name)
        if before is not None:
            self._own_layout = before
        self.refresh()

    def restore_layout(self):
        """The reader's own layout."""
        views.restore_layout(self._own_layout)

    def on_message(self, message):
        """The first look needs no click."""
        if message["type"] == "opened":
            self.show_layout("compare")
