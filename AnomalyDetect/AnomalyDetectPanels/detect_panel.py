"""Detect: which model, on which device, and the run itself."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from AnomalyDetectLib.mrml.model_list import card_text, model_choices
from AnomalyDetectPanels.panel import Panel


class DetectPanel(Panel):
    """Model with its card, device, and a button that becomes the progress bar with Cancel."""

    ui_file = "AnomalyDetectDetect"

    def __init__(self, shell):
        super().__init__(shell)
        self._details = ""
        self._chosen_for = None  # the scan that the name beside "auto" belongs to
        self.ui.modelSelector.addItem(_("auto"), "auto")
        for card in model_choices():
            self.ui.modelSelector.addItem(f"{card['name']} {card['version']}", card["name"])
        self.ui.deviceSelector.addItem(_("auto"), "auto")
        self.ui.deviceSelector.addItem(_("CPU"), "cpu")
        self.ui.modelSelector.connect("currentIndexChanged(int)", self._on_model)
        self.ui.deviceSelector.connect("currentIndexChanged(int)", self._on_device)
        self.ui.cardButton.connect("toggled(bool)", self._on_card)
        self.ui.detectButton.connect("clicked()", shell.detect)
        self.ui.cancelButton.connect("clicked()", shell.cancel)
        self.ui.copyButton.connect("clicked()", self._on_copy)
        self.ui.diagnosisButton.connect("clicked()", self._on_diagnosis)
        self.ui.installButton.connect("clicked()", self._on_install)

    def refresh(self):
        """Whether one can detect, and why not."""
        if self.parameters is None:
            return
        if self.parameters.inputVolume is not self._chosen_for:
            self._name_auto("")
        self.choose(self.ui.modelSelector, self.parameters.model)
        self.choose(self.ui.deviceSelector, self.parameters.device)
        self.enable(
            self.ui.detectButton,
            self.shell.why_not_detect(),
            _("Rebuilds the scan as a healthy brain and shows what differs (Ctrl+D)."),
        )
        self.enable(
            self.ui.installButton,
            self.shell.why_busy(),
            _("Installs what is missing from an offline bundle, without a network."),
        )
        running = bool(self.shell.why_busy())
        self.ui.detectButton.setVisible(not running)
        self.ui.progressBar.setVisible(running)
        self.ui.cancelButton.setVisible(running)

    def say(self, text, details=""):
        """A line in the panel, in place of a pop-up; details can be copied."""
        self._details = details
        self.ui.messageLabel.text = text
        self.ui.copyButton.setVisible(bool(details))

    def on_message(self, message):
        """Progress, and how it ended."""
        kind = message["type"]
        if kind == "progress":
            stages = {
                "read": _("reading"),
                "prepare": _("finding the brain"),
                "rebuild": _("rebuilding"),
                "score": _("scoring"),
                "find": _("finding"),
                "write": _("writing"),
                "show": _("showing"),
                "load": _("loading"),
                "compare": _("asking other models"),
                "attribute": _("tracing the score back"),
                "occlude": _("covering parts of the scan"),
            }
            stage = stages.get(message["stage"], message["stage"])
            percent = round(100 * message["fraction"])
            self.ui.progressBar.value = percent
            text = _("{stage} {percent} % {seconds:.0f} s")
            line = text.format(stage=stage, percent=percent, seconds=message.get("seconds", 0))
            self.ui.progressBar.setFormat(line)
        elif kind in ("error", "crashed"):
            self.say(message["message"], message.get("details") or message["message"])
        elif kind == "cancelled":
            self.say(message.get("message") or _("Cancelled; the scene is as it was."))
        elif kind == "devices":
            self._show_devices(message["devices"])
        elif kind == "fit":
            self._name_auto(message.get("model") or "")
        elif kind == "explained":
            text = _("The picture shows why finding {n} is one; {seconds:.0f} s.")
            self.say(text.format(n=message["finding"], seconds=message.get("seconds", 0)))
        elif kind == "opened" and self.case is not None:
            self._show_report(self.case.result.report)
        self.refresh()

    def _show_report(self, report):
        """What was used, and what the reader should know: that the CPU took over, say."""
        used = [one["model"] for one in (report, report.get("also")) if one and one.get("model")]
        names = ["{name} {version}".format(**model) for model in used]
        text = _("Done: {model} on {device}, {seconds:.0f} s.")
        seconds = sum(report.get("seconds", {}).values())
        every = " + ".join(dict.fromkeys(names))
        lines = [text.format(model=every, device=report.get("device", ""), seconds=seconds)]
        shown = report.get("fit", {}).get("reasons", ())  # beside the scan
        lines += [warning for warning in report.get("warnings", ()) if warning not in shown]
        self.say("\n".join(lines))
        self._name_auto(names[0] if names else "")

    def _name_auto(self, model):
        """Beside "auto", the model that was chosen for this scan."""
        self._chosen_for = self.parameters.inputVolume if model and self.parameters is not None else None
        if model and self.parameters is not None and self.parameters.model == "auto":
            self.ui.modelSelector.setItemText(0, _("auto: {model}").format(model=model))
        else:
            self.ui.modelSelector.setItemText(0, _("auto"))

    def _show_devices(self, devices):
        """GPUs with their free memory, as it is now; a saved choice that isn't here becomes auto."""
        selector = self.ui.deviceSelector
        for device in devices:
            if device["name"] == "cpu":
                continue
            label = device["label"]
            if device["free_bytes"] is not None:
                text = _("{name}, {free:.1f} GB free")
                label = text.format(name=label, free=device["free_bytes"] / 1e9)
            place = selector.findData(device["name"])
            if place < 0:
                selector.addItem(label, device["name"])
            else:
                selector.setItemText(place, label)
        if self.parameters is not None and selector.findData(self.parameters.device) < 0:
            self.parameters.device = "auto"

    def _on_model(self, index):
        if self.parameters is not None:
            self.parameters.model = self.ui.modelSelector.itemData(index)
        self._on_card(self.ui.cardButton.checked)

    def _on_device(self, index):
        if self.parameters is not None:
            self.parameters.device = self.ui.deviceSelector.itemData(index)

    def _on_card(self, shown):
        self.ui.cardLabel.setVisible(shown)
        if shown:
            name = self.ui.modelSelector.itemData(self.ui.modelSelector.currentIndex)
            self.ui.cardLabel.text = card_text(name)

    def _on_copy(self):
        qt.QApplication.clipboard().setText(self._details)

    def _on_install(self):
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of the offline bundle"))
        if folder:
            self.shell.install_from(Path(folder))

    def _on_diagnosis(self):
        self.ui.diagnosisButton.enabled = False
        self.shell.copy_diagnosis(self._diagnosis_copied)

    def _diagnosis_copied(self, text):
        self.ui.diagnosisButton.enabled = True
        qt.QApplication.clipboard().setText(text)
        self.say(_("The diagnosis is in the clipboard."))
