"""AnomalyDetect: what is unusual in a brain scan, as findings that a reader keeps or rejects."""

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import qt
import slicer
import slicer.util
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import AnomalyDetectLib  # noqa: F401
except ImportError:  # a checkout whose AnomalyDetect folder was added to Slicer's module paths
    sys.path.append(str(Path(__file__).resolve().parents[1]))

TICK_MILLISECONDS = 20
DEMO = "demo_t1.nii.gz"
DEVICES = "devices"


class AnomalyDetect(ScriptedLoadableModule):
    """What Slicer knows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("AnomalyDetect: brain lesion candidates")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The AnomalyDetect contributors"]
        self.parent.helpText = _(
            "Shows what is unusual in a brain MRI scan: a model that has seen only healthy brains rebuilds "
            "the scan, and what it can't explain becomes a table of lesion candidates to keep or reject. "
            "Load a T1 scan, press Detect, drag the slider. Research use only, not a medical device."
        )
        self.parent.acknowledgementText = _("Each model's card names the data that it was trained on.")
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """The simulated patient, in the Sample Data module."""
    try:
        import SampleData
    except ImportError:
        return
    import hashlib

    from AnomalyDetectLib.resources import resource

    path = resource("SampleData", DEMO)
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="AnomalyDetect",
        sampleName="SimulatedPatientT1",
        uris=path.as_uri(),
        fileNames=DEMO,
        checksums=f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        nodeNames="SimulatedPatientT1",
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "AnomalyDetect.png"),
    )


@parameterNodeWrapper
class AnomalyDetectParameterNode:
    """What is saved with the scene.

    inputVolume, brainMask, alsoVolume: nodes; the last one is a second sequence of the same patient.
    sequence, alsoSequence, model, device: "auto" or a name. overlay: the map over the scan.
    expectedFalseAlarms: in a healthy brain, at the next detection. What belongs to one case is kept with its
    nodes (AnomalyDetectLib.mrml.memory).
    """

    inputVolume: vtkMRMLScalarVolumeNode
    brainMask: vtkMRMLLabelMapVolumeNode
    alsoVolume: vtkMRMLScalarVolumeNode
    sequence: str = "auto"
    alsoSequence: str = "auto"
    model: str = "auto"
    device: str = "auto"
    overlay: str = "score"
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    outlineOnly: bool = True
    expectedFalseAlarms: Annotated[float, WithinRange(0.01, 30)] = 1.0


class AnomalyDetectLogic(ScriptedLoadableModuleLogic):
    """One worker, one open case. Call `poll` from a timer while `busy`."""

    def __init__(self, command=None):
        """command: starts the worker; None: with Slicer's own Python."""
        ScriptedLoadableModuleLogic.__init__(self)
        from AnomalyDetectLib.mrml.mailbox import PostOffice
        from AnomalyDetectLib.worker_client import WorkerClient, worker_command

        self.client = WorkerClient(command or worker_command())
        self.case = None
        self.ahead = None
        self.checked_scan_id = ""
        self._office = PostOffice(self.client)
        self._run = None
        self._pictures = None
        self._devices_wanted = False
        self._parameters = None

    def getParameterNode(self):
        """The scene's parameters: one wrapper for a node, because Slicer's never lets go of its observers."""
        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = AnomalyDetectParameterNode(node)
        return self._parameters

    @property
    def busy(self):
        """Whether a check, a detection or a reopening goes on."""
        return self._run is not None

    @property
    def scan(self):
        """The scan that something goes on with, or None."""
        return self._run.scan if self._run is not None else None

    @property
    def computing(self):
        """Whether `poll` has anything to hear of."""
        ahead = self.ahead is not None and self.ahead.done is None and not self.ahead.failed
        return self.busy or ahead or self._devices_wanted

    def ask_devices(self):
        """Ask where models can run, and how much memory is free there; `poll` brings the answer.

        It also starts the worker, which makes the first detection seconds faster.
        """
        if not self._devices_wanted and not self.busy:
            self._devices_wanted = True
            self._office.submit(DEVICES, {"type": "devices"})

    def detect(self, scan, options, mask=None, saved="", path=None, also=None):
        """Begin a detection. path: the file of the scan, when it may have been computed ahead. also: a second
        sequence of the same patient.

        Raises ValueError, in words for the reader, for what can't be a scan.
        """
        from AnomalyDetectLib.mrml.detection_run import DetectionRun
        from AnomalyDetectLib.mrml.scan import why_not_a_mask, why_not_a_scan, why_not_also

        reason = why_not_a_scan(scan) or why_not_a_mask(mask, scan) or why_not_also(also, scan)
        if reason:
            raise ValueError(reason)
        if self._run is not None:
            raise ValueError(_("a detection is running; cancel it first"))
        ahead = (
            self.ahead if self.ahead is not None and path is not None and self.ahead.path == path else None
        )
        self._run = DetectionRun(self._office, scan, options, mask, saved=saved, ahead=ahead, also=also)

    def explain(self, finding, device, mask=None, also=None):
        """Find out why a finding of the open case is one; the scene stays as it is. mask, also: of the
        detection.

        Raises ValueError, in words for the reader, when it can't be.
        """
        from AnomalyDetectLib.mrml.explain_run import ExplainRun, why_not_explained

        reason = why_not_explained(self.case, also)
        if reason:
            raise ValueError(reason)
        if self._run is not None:
            raise ValueError(_("a detection is running; cancel it first"))
        if self._pictures is None:
            self._pictures = tempfile.TemporaryDirectory(prefix="AnomalyDetect")
        place = Path(self._pictures.name)
        self._run = ExplainRun(self._office, self.case, finding, place, device, mask, also)

    def check(self, scan, options, mask=None):
        """Ask whether a scan fits the model."""
        from AnomalyDetectLib.mrml.detection_run import ScanCheck

        self.checked_scan_id = scan.GetID()
        self._run = ScanCheck(self._office, scan, options, mask)

    def reopen(self, scan):
        """Take up the results of a scan that the scene holds; what is known of them, None without any."""
        from AnomalyDetectLib.mrml.case_nodes import case_in_scene
        from AnomalyDetectLib.mrml.detection_run import Reopening
        from AnomalyDetectLib.mrml.memory import recall

        nodes = case_in_scene(scan)
        if nodes is None or self._run is not None:
            return None
        memory = recall(nodes)
        self._run = Reopening(self._office, nodes, memory.report, memory.session)
        return memory

    def compute_ahead(self, path, options):
        """Compute the next case of a queue while this one is read."""
        from AnomalyDetectLib.mrml.detection_run import Ahead

        if self.ahead is not None and self.ahead.path == path:
            return
        if self.ahead is not None:
            self.ahead.close()
        self.ahead = Ahead(self._office, path, options)

    def poll(self):
        """One step of what goes on; messages for the reader."""
        if self.ahead is not None:
            self.ahead.poll()
        return self._poll_devices() + self._poll_run()

    def _poll_devices(self):
        """The list of devices; a worker that can't even tell them will say why when it detects."""
        answers = self._office.poll(DEVICES) if self._devices_wanted else []
        if answers:
            self._devices_wanted = False
            self._office.forget(DEVICES)
        return [answer for answer in answers if answer["type"] == DEVICES]

    def _poll_run(self):
        from AnomalyDetectLib.mrml.detection_run import LAST

        if self._run is None:
            return []
        run, messages = self._run, self._run.poll()
        if messages and messages[-1]["type"] in LAST:
            self._run = None
            if messages[-1]["type"] == "opened":
                self.case = run.opened
        return messages

    def cancel(self):
        """End what goes on; the scene is as before it began. Whether anything went on."""
        run, self._run = self._run, None
        if run is None:
            return False
        run.cancel()
        return True

    def forget(self):
        """Let the case go, without touching the scene."""
        self.case = None

    def close(self):
        """End the worker."""
        self.cancel()
        self.client.close()
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None
        if self._pictures is not None:
            self._pictures.cleanup()
            self._pictures = None


class AnomalyDetectWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The shell: holds the panels, carries messages to them, and follows the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self.scene = slicer.mrmlScene
        self.panels = {}
        self._boxes = {}
        self._gui_tag = None
        self._entered = False
        self._scan_shown = None
        self._ready = False
        self._refreshing = False
        self._diagnosis = None
        self._examination = None
        self._lost = False

    def setup(self):
        """Make the panels."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = AnomalyDetectLogic()
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MILLISECONDS)
        self.timer.connect("timeout()", self.tick)
        self._make_panels()
        self._make_shortcuts()
        scene = slicer.vtkMRMLScene
        for event, slot in (
            (scene.StartCloseEvent, self.on_start_close),
            (scene.EndCloseEvent, self.on_end_close),
            (scene.EndImportEvent, self.on_end_import),
            (scene.NodeRemovedEvent, self.on_node_removed),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)
        self.take_parameters()
        self.refresh()

    def cleanup(self):
        """The module is unloaded: end the worker."""
        self.timer.stop()
        self.panels["findings"].close()
        self._leave_parameters()
        self.removeObservers()
        self.logic.close()

    def enter(self):
        """The reader comes to the module."""
        self._entered = True
        self.take_parameters()
        self._enable_shortcuts(True)

    def exit(self):
        """The reader leaves: keys and layout are the application's again."""
        self._entered = False
        self._enable_shortcuts(False)
        self.panels["look"].restore_layout()

    @property
    def reader(self):
        """The name that is saved with decisions."""
        return self.panels["cases"].ui.readerEdit.text

    def options(self):
        """What the worker is asked for."""
        return {
            "modality": self.parameters.sequence,
            "also_modality": self.parameters.alsoSequence,
            "model": self.parameters.model,
            "device": self.parameters.device,
            "false_alarms": self.parameters.expectedFalseAlarms,
        }

    def why_busy(self):
        """Why nothing new can begin; "" when it can."""
        return _("a detection is running; cancel it first") if self.logic.busy else ""

    def why_not_detect(self):
        """Why Detect is disabled; "" when it isn't."""
        return self.panels["scan"].why_not() or self.why_busy()

    def detect(self):
        """Detect anomalies in the chosen volume."""
        reason = self.why_not_detect()
        if reason:
            self.say(reason)
            return
        if not self._prepared():
            return
        mask, also = self.parameters.brainMask, self.parameters.alsoVolume
        self.begin(lambda: self.logic.detect(self._scan(), self.options(), mask, also=also))

    def check(self):
        """Say whether the chosen volume fits."""
        if not self.why_not_detect() and self._prepared():
            self.begin(lambda: self.logic.check(self._scan(), self.options(), self.parameters.brainMask))

    def why_not_explain(self):
        """Why no finding can be explained now; "" when one can."""
        from AnomalyDetectLib.mrml.explain_run import why_not_explained

        also = None if self.parameters is None else self.parameters.alsoVolume
        return why_not_explained(self.logic.case, also) or self.why_busy()

    def explain(self, finding):
        """Find out why a finding is one."""
        reason = self.why_not_explain()
        if reason:
            self.say(reason)
        elif self._prepared():
            chosen = self.parameters
            self.begin(
                lambda: self.logic.explain(finding, chosen.device, chosen.brainMask, chosen.alsoVolume)
            )

    def begin(self, start):
        """Start something and follow it."""
        try:
            start()
        except ValueError as error:
            self.say(str(error))
            return
        self.say("")
        self.panels["detect"].on_message({"type": "progress", "stage": "read", "fraction": 0.0, "seconds": 0})
        self.timer.start()
        self.refresh()

    def cancel(self):
        """End what goes on."""
        if self.logic.cancel():
            self._tell({"type": "cancelled"})

    def tick(self):
        """One turn of the timer."""
        for message in self.logic.poll():
            if message["type"] == "opened":
                self._remember()
            self._tell(message)
            if message["type"] == "opened" and self._lost:
                self._lost = False
                self.say(
                    _("The scene's files hold the voxels in another order: decisions can't be taken over.")
                )
        if self._diagnosis is not None and self._diagnosis[0].done():
            (work, callback), self._diagnosis = self._diagnosis, None
            callback(work.result())
        if self._examination is not None and self._examination.done():
            work, self._examination = self._examination, None
            if work.result().complete:
                self._ready = True
                self.logic.ask_devices()
        if not self.logic.computing and self._diagnosis is None and self._examination is None:
            self.timer.stop()
            self.panels["cases"].refresh()

    def look_round(self):
        """Find out, beside the event loop, whether all is installed, and then where models can run."""
        from AnomalyDetectLib.mrml.background import Background
        from AnomalyDetectLib.preflight import examine

        if self._ready:
            self.logic.ask_devices()
        elif self._examination is None:
            self._examination = Background(examine)
        self.timer.start()

    def say(self, text, details=""):
        """A line in the panel."""
        self.panels["detect"].say(text, details)

    def load_sample(self):
        """The simulated patient as input."""
        from AnomalyDetectLib.resources import resource

        node = slicer.util.loadVolume(str(resource("SampleData", DEMO)))
        self.parameters.inputVolume = node
        slicer.util.setSliceViewerLayers(background=node, fit=True)

    def read_case(self, node, path, saved):
        """Show a case of a queue and look for its findings."""
        self.parameters.alsoVolume = None  # it was another patient's
        self.parameters.inputVolume = node
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        if self._prepared():
            self.begin(lambda: self.logic.detect(node, self.options(), saved=saved, path=path))

    def close_case(self):
        """Take the open case and, when it came from a queue, its scan out of the scene."""
        self.cancel()
        case = self.logic.case
        self.logic.forget()
        if case is not None:
            from AnomalyDetectLib.mrml.views import hide_layers

            hide_layers(case.nodes)
            case.nodes.remove()
            if case.nodes.scan.GetAttribute("AnomalyDetect.Case"):
                slicer.mrmlScene.RemoveNode(case.nodes.scan)
        self.refresh()

    def take_note(self):
        """Keep what is being typed before the case goes."""
        self.panels["findings"].take_note()

    def set_title(self, name, title):
        """The title of a panel's box."""
        self._boxes[name].text = title

    def save_session(self):
        """Keep decisions in the scene, and on disk when a queue is read."""
        from AnomalyDetectLib.mrml.memory import remember_session

        if self.logic.case is not None:
            remember_session(self.logic.case.nodes, self.logic.case.session.to_json())
            self.panels["cases"].save()

    def install_from(self, folder):
        """Install what is missing from an offline bundle; asks once, and a no is no error."""
        from AnomalyDetectLib import preflight

        ask, pip_install = slicer.util.confirmOkCancelDisplay, slicer.util.pip_install
        if self._installed(lambda plan: preflight.install_bundle(folder, plan, pip_install, ask)):
            self.say(_("Everything that is needed is installed."))

    def copy_diagnosis(self, callback):
        """Find out what is installed, beside the event loop."""
        from AnomalyDetectLib.mrml.background import Background
        from AnomalyDetectLib.preflight import diagnosis
        from AnomalyDetectLib.worker_client import worker_command

        python = worker_command()[0]
        self._diagnosis = (Background(lambda: diagnosis(python)), callback)
        self.timer.start()

    def refresh(self, caller=None, event=None):
        """Show what is."""
        if self._refreshing or not self.panels:
            return
        self._refreshing = True
        try:
            for panel in self.panels.values():
                panel.refresh()
        finally:
            self._refreshing = False

    def take_parameters(self):
        """Use the scene's parameter node, and choose what the reader looks at as the input."""
        from AnomalyDetectLib.mrml.views import background_id

        self._leave_parameters()
        self.parameters = self.logic.getParameterNode()
        if self.parameters.inputVolume is None:
            shown = slicer.mrmlScene.GetNodeByID(background_id() or "")
            if shown is not None and shown.GetClassName() == "vtkMRMLScalarVolumeNode":
                self.parameters.inputVolume = shown
        self._gui_tag = self.parameters.connectParametersToGui(self._parameter_widgets())
        self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
        self.on_parameters()

    def on_parameters(self, caller=None, event=None):
        """A parameter has changed, by the reader or by a loaded scene."""
        scan = self.parameters.inputVolume if self.parameters is not None else None
        if scan is not self._scan_shown:
            self._scan_shown = scan
            self._follow_scan(scan)
        for name in ("scan", "detect", "look"):
            self.panels[name].refresh()

    def on_start_close(self, caller, event):
        """The scene closes, also in the middle of a run: the run ends, and the panel is as before it."""
        self.cancel()
        self.logic.forget()
        self.panels["scan"].forget()
        self._scan_shown = None
        self._leave_parameters()

    def on_end_close(self, caller, event):
        """An empty scene."""
        self.take_parameters()
        self.refresh()

    def on_end_import(self, caller, event):
        """A scene was loaded: take up where it was saved."""
        self._scan_shown = None
        self.logic.forget()
        self.take_parameters()
        self.refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_node_removed(self, caller, event, node):
        """The reader removed a node of the open case: what is left of it goes, too."""
        case = self.logic.case
        if case is None or slicer.mrmlScene.IsClosing() or node is None:
            return
        if any(node is one for one in (case.nodes.scan, case.nodes.segmentation, case.nodes.score)):
            self.logic.forget()
            self._remove_rest(case, node)

    def _remove_rest(self, case, removed):
        case.nodes.remove()
        self.say(_("{name} was removed, and the results with it.").format(name=removed.GetName()))
        self.refresh()

    def _scan(self):
        return self.parameters.inputVolume

    def _follow_scan(self, scan):
        case, running = self.logic.case, self.logic.scan
        # A loaded scene or a script chose another one; a scan that was removed ends its run by itself.
        replaced = scan is not None and running is not None and running is not scan
        if replaced and running.GetScene() is not None:
            self.cancel()
        if case is not None and case.nodes.scan is not scan:
            self.logic.forget()
            if case.nodes.scan.GetScene() is None:
                self._remove_rest(case, case.nodes.scan)
        if scan is None or self.logic.case is not None or self.logic.busy:
            self.refresh()
            return
        self.look_round()
        memory = self.logic.reopen(scan)
        if memory is not None:
            self.timer.start()
            self._lost = memory.lost
        self.refresh()

    def _remember(self):
        """What a loaded scene needs to go on."""
        from AnomalyDetectLib.mrml.memory import remember_report, remember_session

        case = self.logic.case
        remember_report(case.nodes, case.result.report)
        remember_session(case.nodes, case.session.to_json())

    def _tell(self, message):
        for panel in self.panels.values():
            panel.on_message(message)

    def _prepared(self):
        """Whether everything that a detection needs is installed; asks once, and a no is no error."""
        from AnomalyDetectLib import preflight

        return self._ready or self._installed(
            lambda plan: preflight.install(plan, installers(), slicer.util.confirmOkCancelDisplay)
        )

    def _installed(self, install):
        """Whether nothing is missing, after `install` was called with what is."""
        from AnomalyDetectLib import preflight
        from AnomalyDetectLib.errors import AnomalyDetectError

        plan = preflight.examine()
        if not plan.complete:
            try:
                outcome = install(plan)
            except (AnomalyDetectError, OSError) as error:
                self.say(str(error), plan.text())
                return False
            if outcome.cancelled:
                self.say(_("Cancelled: nothing was installed."))
                return False
        self._ready = True
        return True

    def _make_panels(self):
        import ctk
        from AnomalyDetectPanels.cases_panel import CasesPanel
        from AnomalyDetectPanels.detect_panel import DetectPanel
        from AnomalyDetectPanels.findings_panel import FindingsPanel
        from AnomalyDetectPanels.hand_over_panel import HandOverPanel
        from AnomalyDetectPanels.look_panel import LookPanel
        from AnomalyDetectPanels.scan_panel import ScanPanel

        for name, title, kind in (
            ("scan", _("Scan"), ScanPanel),
            ("detect", _("Detect"), DetectPanel),
            ("look", _("Look"), LookPanel),
            ("findings", _("Findings"), FindingsPanel),
            ("hand_over", _("Hand over"), HandOverPanel),
            ("cases", _("Cases"), CasesPanel),
        ):
            panel = kind(self)
            box = ctk.ctkCollapsibleButton()
            box.text = title
            box.setLayout(qt.QVBoxLayout())
            box.layout().setContentsMargins(0, 0, 0, 0)  # the panel has margins of its own
            box.layout().addWidget(panel.widget)
            box.collapsed = name == "cases"
            self.layout.addWidget(box)
            self.panels[name], self._boxes[name] = panel, box
        notice = qt.QLabel(_("Research use only. Not a medical device. Nothing leaves this computer."))
        notice.setWordWrap(True)
        self.layout.addWidget(notice)
        self.layout.addStretch(1)

    def _parameter_widgets(self):
        widgets = {}
        for panel in self.panels.values():
            for widget in vars(panel.ui).values():
                name = widget.property("SlicerParameterName")
                if name:
                    widgets[name] = widget
        return widgets

    def _leave_parameters(self):
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(
                self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters
            )
        self.parameters = None

    def _make_shortcuts(self):
        from AnomalyDetectPanels.shortcuts import Shortcuts

        findings, look, cases = self.panels["findings"], self.panels["look"], self.panels["cases"]
        keys = {
            "Ctrl+D": self.detect,
            "1": lambda: look.choose_overlay("score"),
            "2": lambda: look.choose_overlay("residual"),
            "3": lambda: look.choose_overlay("uncertainty"),
            "4": lambda: look.choose_overlay("healthy"),
            "N": lambda: findings.step(1),
            "P": lambda: findings.step(-1),
            "K": findings.keep,
            "R": findings.reject,
            "W": findings.explain,
            "Ctrl+E": findings.write_note,
            "Ctrl+Z": findings.undo,
            "Ctrl+Shift+Z": findings.redo,
            "Ctrl+N": lambda: cases.move(1),
            "Ctrl+P": lambda: cases.move(-1),
        }
        self.shortcuts = Shortcuts(self.parent, keys, look.flicker)

    def _enable_shortcuts(self, enabled):
        self.shortcuts.enable(enabled)


def installers():
    """Slicer's own ways to install."""
    from AnomalyDetectLib.preflight import Installers

    torch = pip_ensure = None
    with contextlib.suppress(ImportError):
        import PyTorchUtils

        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch
    with contextlib.suppress(ImportError):
        from slicer.packaging import pip_ensure
    return Installers(
        torch=(lambda version: torch(askConfirmation=False, torchVersionRequirement=version))
        if torch
        else None,
        pip_ensure=pip_ensure,
        pip_install=slicer.util.pip_install,
    )


class AnomalyDetectTest(ScriptedLoadableModuleTest):
    """The story of one case in the desktop: load, detect, keep, reject, undo, hand over."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """All tests."""
        self.setUp()
        self.test_one_case_from_scan_to_segmentation()

    def test_one_case_from_scan_to_segmentation(self):
        """The simulated patient, through the logic alone."""
        import time

        from AnomalyDetectLib.mrml.hand_over import to_segmentation
        from AnomalyDetectLib.resources import resource

        self.delayDisplay("Detecting in the simulated patient")
        logic = AnomalyDetectLogic()
        scan = slicer.util.loadVolume(str(resource("SampleData", DEMO)))
        logic.detect(scan, {"false_alarms": 1.0})
        end, messages = time.time() + 600, []
        while logic.busy and time.time() < end:
            messages = logic.poll() or messages
            slicer.app.processEvents()
        self.assertEqual(messages[-1]["type"], "opened", messages[-1])
        case = logic.case
        first = case.findings.table[0].id
        case.reject(first)
        case.undo()
        case.keep(first)
        node, take_back = to_segmentation(case)
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), len(case.findings))
        take_back()
        logic.close()
        self.delayDisplay("Test passed")
