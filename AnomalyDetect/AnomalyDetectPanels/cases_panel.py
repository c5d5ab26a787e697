"""Cases: a queue of scans, read one after the other."""

import getpass
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from AnomalyDetectLib.mrml import case_queue
from AnomalyDetectPanels.panel import Panel


class CasesPanel(Panel):
    """Next and previous case; the next one is computed while this one is read."""

    ui_file = "AnomalyDetectCases"

    def __init__(self, shell):
        super().__init__(shell)
        self.queue = None
        self.ui.readerEdit.text = getpass.getuser()
        self.ui.readerEdit.connect("textChanged(QString)", self._on_reader)
        self.ui.folderButton.connect("clicked()", self._on_folder)
        self.ui.listButton.connect("clicked()", self._on_list)
        self.ui.previousButton.connect("clicked()", lambda: self.move(-1))
        self.ui.nextButton.connect("clicked()", lambda: self.move(1))

    def open(self, queue):
        """Begin or resume a queue (`case_queue.CaseQueue`)."""
        self.queue = queue
        queue.reader = self.ui.readerEdit.text
        self._load()

    def move(self, by):
        """Save, then go to another case."""
        if self.queue is None:
            return
        before = self.queue.at
        self.shell.take_note()
        self.save()
        self.queue.move(by)
        if self.queue.at != before:
            self._load()
        self.refresh()

    def save(self):
        """Save the decisions of the case that is read."""
        if self.queue is not None and self.case is not None and self._ours():
            self.queue.save(self.case.session.to_json(), dict(self.case.result.report))

    def refresh(self):
        """Which case, how many are read, whether the next one is ready."""
        queue = self.queue
        why_not = "" if queue is not None else _("open a folder or a list first")
        first = why_not or (_("this is the first case") if queue.at == 0 else "")
        last = why_not or (_("this is the last case") if queue.following is None else "")
        self.enable(self.ui.previousButton, first, _("Back to the case before (Ctrl+P)."))
        self.enable(self.ui.nextButton, last, _("To the next case (Ctrl+N)."))
        if queue is None:
            return
        text = _("{name}  ({at} / {n})")
        self.ui.caseLabel.text = text.format(name=queue.current.name, at=queue.at + 1, n=len(queue.cases))
        self.shell.set_title("cases", _("Cases  {at} / {n}").format(at=queue.at + 1, n=len(queue.cases)))
        self.ui.casesProgress.maximum = len(queue.cases)
        self.ui.casesProgress.value = queue.n_done
        ahead = self.logic.ahead
        if queue.following is None:
            self.ui.stateLabel.text = _("last case")
        elif ahead is not None and ahead.path == queue.following.path:
            self.ui.stateLabel.text = _("next: ready") if ahead.done is not None else _("next: computing")
        else:
            self.ui.stateLabel.text = _("next: waiting")

    def on_message(self, message):
        """When a case is open, the next one can be computed."""
        opened = message["type"] == "opened" and self.queue is not None and self._ours()
        if opened and self.queue.following is not None:
            self.logic.compute_ahead(self.queue.following.path, self.shell.options())
        self.refresh()

    def _ours(self):
        return self.case.nodes.scan.GetAttribute("AnomalyDetect.Case") == self.queue.current.name

    def _load(self):
        self.shell.close_case()
        case = self.queue.current
        node = slicer.util.loadVolume(str(case.path), {"name": case.name})
        node.SetAttribute("AnomalyDetect.Case", case.name)
        self.shell.read_case(node, case.path, self.queue.saved_session())
        self.refresh()

    def _on_reader(self, name):
        if self.queue is not None:
            self.queue.reader = name

    def _on_folder(self):
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of scans"))
        if folder:
            self._open(lambda: case_queue.open_folder(Path(folder)))

    def _on_list(self):
        path = qt.QFileDialog.getOpenFileName(None, _("List of scans"), "", "*.csv")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self._open(lambda: case_queue.open_list(Path(path)))

    def _open(self, make):
        from AnomalyDetectLib.errors import AnomalyDetectError

        try:
            self.open(make())
        except (AnomalyDetectError, OSError) as error:
            self.ui.stateLabel.text = str(error)
