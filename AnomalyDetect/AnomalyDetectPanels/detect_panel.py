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
        self._devices_known = False
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
            self._add_devices(message["devices"])
        elif kind == "opened":
            report = self.case.result.report if self.case is not None else {}
            model = report.get("model", {})
            seconds = sum(report.get("seconds", {}).values())
            text = _("Done: {model} {version} on {device}, {seconds:.0f} s.")
            self.say(
                text.format(
                    model=model.get("name", ""),
                    version=model.get("version", ""),
                    device=report.get("device", ""),
                    seconds=seconds,
                )
            )
        self.refresh()

    def _add_devices(self, devices):
        if self._devices_known:
            return
        self._devices_known = True
        for device in devices:
            if device["name"] == "cpu":
                continue
            label = device["label"]
            if device["free_bytes"]:
                text = _("{name}, {free:.0f} GB free")
                label = text.format(name=label, free=device["free_bytes"] / 1e9)
            self.ui.deviceSelector.addItem(label, device["name"])

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
