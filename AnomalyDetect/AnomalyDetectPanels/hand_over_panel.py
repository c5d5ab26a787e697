"""Hand over: findings leave the module."""

from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from AnomalyDetectLib.mrml import hand_over
from AnomalyDetectPanels.panel import Panel


class HandOverPanel(Panel):
    """One button for each way out; what was written is said in a line."""

    ui_file = "AnomalyDetectHandOver"

    def __init__(self, shell):
        super().__init__(shell)
        self.folder = None  # asked for once, then kept
        for name, slot in (
            ("segmentEditor", self.to_segment_editor),
            ("saveCase", lambda: self._write(self._write_case)),
            ("report", lambda: self._write(self._write_report)),
            ("segmentation", lambda: self._write(hand_over.write_segmentation)),
            ("nifti", lambda: self._write(hand_over.write_nifti_labelmap)),
            ("dicom", self.to_dicom),
            ("scene", lambda: self._write(self._write_scene)),
        ):
            getattr(self.ui, f"{name}Button").connect("clicked()", slot)

    def refresh(self):
        """What can be handed over, and why not."""
        why_not = "" if self.case is not None else _("detect anomalies first")
        for name, tip in (
            ("segmentEditor", _("Copies the findings that were not rejected into a new segmentation.")),
            ("saveCase", _("Writes maps, label map, segmentation, table, report and scene into a folder.")),
            ("report", _("Writes the report and the table with your decisions into a folder.")),
            ("segmentation", _("Writes the findings that were not rejected as a segmentation file.")),
            ("nifti", _("Writes the findings that were not rejected as a label map.")),
        ):
            self.enable(getattr(self.ui, f"{name}Button"), why_not, tip)
        tip = _("Writes the findings that were not rejected as DICOM SEG.")
        if hand_over.has_dicom_plugin():
            tip = _("Opens the export of the findings as DICOM SEG.")
        self.enable(self.ui.dicomButton, hand_over.why_not_dicom(self.case), tip)

    def on_message(self, message):
        """Buttons follow the case."""
        self.refresh()

    def to_segment_editor(self):
        """A new segmentation, shown in the Segment Editor where there is one; undo takes it back."""
        if self.case is None:
            return
        node, take_back = hand_over.to_segmentation(self.case)
        self.case.add_step(take_back)
        count = node.GetSegmentation().GetNumberOfSegments()
        self.ui.resultLabel.text = _("{n} findings in {name}.").format(n=count, name=node.GetName())
        self.shell.refresh()
        if hasattr(slicer.modules, "segmenteditor") and slicer.util.mainWindow() is not None:
            slicer.util.selectModule("SegmentEditor")

    def to_dicom(self):
        """Slicer's own export, with the findings as a segmentation; a file where Slicer has none."""
        if hand_over.why_not_dicom(self.case) != "":
            return
        if not hand_over.has_dicom_plugin():
            self._write(hand_over.write_dicom_seg)
        else:
            node, take_back = hand_over.to_segmentation(self.case)
            self.case.add_step(take_back)
            text = _("Right-click {name} in the Data module and choose Export to DICOM.")
            self.ui.resultLabel.text = text.format(name=node.GetName())
            slicer.util.selectModule("Data")

    def _write(self, write):
        from AnomalyDetectLib.errors import AnomalyDetectError

        folder = self.folder or qt.QFileDialog.getExistingDirectory(None, _("Folder for the results"))
        if not folder:
            return
        self.folder = Path(folder)
        try:
            path = write(self.case, self.folder)
        except (AnomalyDetectError, OSError) as error:
            self.ui.resultLabel.text = str(error)
            return
        self.ui.resultLabel.text = _("Written: {path}").format(path=path)

    def _write_case(self, case, folder):
        return hand_over.write_case(case, folder, self.shell.reader)

    def _write_report(self, case, folder):
        return hand_over.write_report(case, folder, self.shell.reader)

    def _write_scene(self, _case, folder):
        return hand_over.write_scene(folder / "AnomalyDetect.mrb")
