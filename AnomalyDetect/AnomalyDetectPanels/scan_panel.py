"""Scan: which volume, and whether it fits."""

from slicer.i18n import tr as _

from AnomalyDetectLib.mrml.scan import describe, why_not_a_mask, why_not_a_scan, why_not_also
from AnomalyDetectPanels.panel import Panel

SEQUENCES = ("auto", "T1", "T2", "FLAIR", "PD", "CT")
# Green, amber, red of the Okabe-Ito palette: told apart by every common colour vision.
COLOURS = {"ok": "#009E73", "warn": "#E69F00", "refuse": "#D55E00", "unknown": "#888888"}


class ScanPanel(Panel):
    """Volume, a second sequence, brain mask, and the line that says whether the scan fits the model."""

    ui_file = "AnomalyDetectScan"

    def __init__(self, shell):
        super().__init__(shell)
        self._fit = {}
        for selector in (self.ui.inputSelector, self.ui.alsoSelector, self.ui.maskSelector):
            selector.setMRMLScene(shell.scene)
        for box in (self.ui.sequenceSelector, self.ui.alsoSequenceSelector):
            for sequence in SEQUENCES:
                box.addItem(_("auto") if sequence == "auto" else sequence, sequence)
        self.ui.sequenceSelector.connect("currentIndexChanged(int)", self._on_sequence)
        self.ui.alsoSequenceSelector.connect("currentIndexChanged(int)", self._on_also_sequence)
        self.ui.alsoButton.connect("toggled(bool)", self._on_also)
        self.ui.checkButton.connect("clicked()", self._on_check)
        self.ui.sampleButton.connect("clicked()", shell.load_sample)

    def why_not(self):
        """Why there is nothing to detect in; "" when there is."""
        if self.parameters is None:
            return _("no scene is open")
        scan, mask = self.parameters.inputVolume, self.parameters.brainMask
        reason = why_not_a_scan(scan) or why_not_a_mask(mask, scan)
        return reason or why_not_also(self.parameters.alsoVolume, scan)

    def refresh(self):
        """The scan-fit line."""
        if self.parameters is None:
            return
        self.choose(self.ui.sequenceSelector, self.parameters.sequence)
        self.choose(self.ui.alsoSequenceSelector, self.parameters.alsoSequence)
        self._fold_also()
        busy = self.shell.why_busy()
        for widget, tip in (
            (self.ui.inputSelector, _("The brain scan in which anomalies are looked for.")),
            (
                self.ui.alsoButton,
                _("Looks at a second sequence of the same patient, too: FLAIR beside T1, say."),
            ),
            (
                self.ui.alsoSelector,
                _("Another scan of the same patient, on any grid; it is moved onto the volume above."),
            ),
            (
                self.ui.alsoSequenceSelector,
                _("Contrast of the second sequence; auto: it is guessed from the tissues."),
            ),
            (self.ui.maskSelector, _("A label map on the scan's grid; findings lie inside of it.")),
            (
                self.ui.sampleButton,
                _("Loads the simulated patient that comes with the module, to try it out."),
            ),
        ):
            self.enable(widget, busy, tip)
        scan = self.parameters.inputVolume
        self.enable(
            self.ui.checkButton,
            self.why_not() or self.shell.why_busy(),
            _("Finds the brain and says whether the scan fits the model, without looking for anomalies."),
        )
        reason = self.why_not()
        if reason:
            self._show("refuse" if scan is not None else "unknown", reason)
            return
        fit = self._fit.get(scan.GetID(), {})
        words = {"ok": _("fits"), "warn": _("fits with doubts"), "refuse": _("does not fit")}
        verdict = fit.get("verdict", "unknown")
        parts = [words.get(verdict, _("not checked yet")), fit.get("modality", ""), describe(scan)]
        if fit.get("modality"):
            parts.append(_("brain found"))
        self._show(verdict, " · ".join(part for part in parts if part), fit.get("reasons", ()))

    def forget(self):
        """The scene closes, and the next one gives its nodes the same IDs."""
        self._fit.clear()

    def on_message(self, message):
        """The gate's verdict comes from a check, with the results, or in their place."""
        if message["type"] == "fit":
            self._fit[self.logic.checked_scan_id] = message
        elif message.get("refused") and self.parameters.inputVolume is not None:
            refusal = {"verdict": "refuse", "reasons": [message["message"]]}
            self._fit[self.parameters.inputVolume.GetID()] = refusal
        elif message["type"] == "opened" and self.case is not None:
            report = self.case.result.report
            self._fit[self.case.nodes.scan.GetID()] = {
                **report.get("fit", {}),
                "modality": " + ".join(report.get("sequences", ())) or report.get("modality", ""),
            }
        self.refresh()

    def _show(self, verdict, text, reasons=()):
        self.ui.fitDot.styleSheet = f"color: {COLOURS[verdict]}"
        self.ui.fitLabel.text = "\n".join([text, *reasons])

    def _on_sequence(self, index):
        if self.parameters is not None:
            self.parameters.sequence = self.ui.sequenceSelector.itemData(index)

    def _on_also_sequence(self, index):
        if self.parameters is not None:
            self.parameters.alsoSequence = self.ui.alsoSequenceSelector.itemData(index)

    def _on_also(self, wanted):
        """Folded away, a second sequence is not used: nothing that isn't seen has a say."""
        if not wanted and self.parameters is not None:
            self.parameters.alsoVolume = None
        self._fold_also()

    def _fold_also(self):
        """Open when it is wanted, and when a scene or a script has chosen one."""
        if self.parameters is not None and self.parameters.alsoVolume is not None:
            self.ui.alsoButton.checked = True
        for widget in (self.ui.alsoSelector, self.ui.alsoSequenceSelector):
            widget.setVisible(self.ui.alsoButton.checked)

    def _on_check(self):
        self.shell.check()
