"""Findings: the sliders, the curve, the table, and the reader's decisions."""

import qt
from slicer.i18n import tr as _

from AnomalyDetectLib.mrml.background import Background
from AnomalyDetectLib.mrml.segments import SIGNS, UNCERTAIN
from AnomalyDetectPanels.curve_plot import draw
from AnomalyDetectPanels.panel import Panel
from AnomalyDetectPanels.why_window import WhyWindow

# The main slider runs from 0.1 to 10 expected false alarms, evenly on a log scale.
TICKS, FEWEST, DECADES = 200, 0.1, 2
SETTLE_MILLISECONDS = 250
CURVE_MILLISECONDS = 30
CURVE_POINTS = 20
LARGEST_Z = 15.0
WHERE, ROW_PIXELS = 1, 22  # the column that takes what is left
SEQUENCE = 7  # the column that is there for two sequences alone
FINE = ("weak", "open", "close", "grow", "minimum", "uncertainty")
MARKS = {"keep": "✓", "reject": "✗"}


def expected_at(tick):
    """Expected false alarms at a place of the main slider."""
    return FEWEST * 10 ** (DECADES * tick / TICKS)


def tick_of(expected):
    """The place of the main slider for so many expected false alarms, without leaving it."""
    from math import log10

    return round(min(max(log10(max(expected, 1e-6) / FEWEST) / DECADES, 0), 1) * TICKS)


class FindingsPanel(Panel):
    """Sliders of the engine, table and keys."""

    ui_file = "AnomalyDetectFindings"

    def __init__(self, shell):
        super().__init__(shell)
        self._showing = False
        self._noted = (None, None, "")  # case, finding and text that the note's line was last filled with
        self._curves = None
        self._curve_work = None
        self._curve_of = None
        self.why_window = WhyWindow()
        for value, text in (("both", _("both")), ("bright", _("brighter ▲")), ("dark", _("darker ▼"))):
            self.ui.signSelector.addItem(text, value)
        self._settle_timer = self._timer(SETTLE_MILLISECONDS, self._settle, single=True)
        self._curve_timer = self._timer(CURVE_MILLISECONDS, self._fetch_curves)
        self._make_table()
        self.ui.falseAlarmsSlider.connect("valueChanged(int)", self._on_false_alarms)
        self.ui.falseAlarmsSlider.connect("sliderReleased()", self._settle)
        self.ui.thresholdSlider.connect("valueChanged(double)", self._on_threshold)
        for name in FINE:
            getattr(self.ui, f"{name}Slider").connect("valueChanged(double)", self._on_fine)
        self.ui.signSelector.connect("currentIndexChanged(int)", self._on_fine)
        self.ui.fillBox.connect("toggled(bool)", self._on_fine)
        self.ui.hideBox.connect("toggled(bool)", self._on_fine)
        self.ui.findingsTable.connect("itemSelectionChanged()", self._on_row)
        self.ui.noteEdit.connect("editingFinished()", self.take_note)
        self.ui.noteEdit.connect("returnPressed()", lambda: self.ui.noteEdit.clearFocus())
        for name, slot in (
            ("previous", lambda: self.step(-1)),
            ("next", lambda: self.step(1)),
            ("keep", self.keep),
            ("reject", self.reject),
            ("why", self.explain),
            ("undo", self.undo),
            ("redo", self.redo),
        ):
            getattr(self.ui, f"{name}Button").connect("clicked()", slot)

    def close(self):
        """Stop the timers; no window outlives the panel."""
        self.why_window.close()
        for timer in (self._settle_timer, self._curve_timer):
            timer.stop()

    def on_message(self, message):
        """A case was opened: show its settings and look at its first finding. A finding was explained: show
        the picture.
        """
        if message["type"] == "opened":
            self.refresh()
            self.step(1)
        elif message["type"] == "explained":
            self.why_window.show(message["picture"], _("Why finding {n}?").format(n=message["finding"]))
            self.refresh()
        else:
            self.refresh()

    def refresh(self):
        """Sliders, numbers, table and buttons as the session is."""
        if self.case is None:  # nobody shall read a picture of another patient
            self.why_window.close()
        self._showing = True
        try:
            self._show_settings()
            self._show_numbers()
            self._show_table()
            self._show_note()
            self._show_buttons()
        finally:
            self._showing = False
        self._want_curves()

    def settings(self, threshold):
        """The engine's settings as the fine sliders stand, at a threshold in z."""
        from AnomalyDetectLib.findings.settings import FindingsSettings

        weak, limit = self.ui.weakSlider.value, self.ui.uncertaintySlider.value
        return FindingsSettings(
            threshold=threshold,
            hysteresis=None if weak >= min(self.ui.weakSlider.maximum, threshold) else weak,
            sign=self.ui.signSelector.itemData(self.ui.signSelector.currentIndex),
            open_mm=self.ui.openSlider.value,
            close_mm=self.ui.closeSlider.value,
            grow_mm=self.ui.growSlider.value,
            min_volume_mm3=self.ui.minimumSlider.value,
            fill_holes=bool(self.ui.fillBox.checked),
            max_uncertainty=None if limit >= self.ui.uncertaintySlider.maximum else limit,
            hide_uncertain=bool(self.ui.hideBox.checked),
        )

    def settings_for(self, expected):
        """The same at the threshold that gives so many expected false alarms in a healthy brain."""
        from AnomalyDetectLib.findings.settings import THRESHOLD_RANGE

        at_any = self.settings(THRESHOLD_RANGE[1])  # a weak threshold is below it, whatever it is
        return self.settings(self.case.result.engine.false_alarms.threshold_for(expected, at_any))

    def step(self, by):
        """The next or previous finding, with all views."""
        table = self.ui.findingsTable
        if table.rowCount == 0:
            return
        row = min(max(table.currentRow() + by, 0), table.rowCount - 1)
        if row == table.currentRow():
            self._on_row()
        else:
            table.selectRow(row)

    def keep(self):
        """Keep the chosen finding; on a kept one: take it back."""
        self._decide("keep")

    def reject(self):
        """Reject the chosen finding; on a rejected one: take it back."""
        self._decide("reject")

    def explain(self):
        """Find out why the chosen finding is one."""
        if self.chosen() is not None:
            self.shell.explain(self.chosen())

    def write_note(self):
        """Put the cursor into the note of the chosen finding."""
        if self.chosen() is not None:
            self.ui.noteEdit.setFocus()

    def take_note(self):
        """What was typed becomes the note of its finding: a step of its own."""
        case, finding, before = self._noted
        text = self.ui.noteEdit.text.strip()
        if text == before or case is None or case is not self.case:
            return
        self._noted = (case, finding, text)
        if finding in case.findings.ids.tolist():
            case.note(finding, text)
            self._changed()

    def undo(self):
        """Take the last step back."""
        self.take_note()
        if self.case is not None and self.case.can_undo:
            self._settle_timer.stop()
            self.case.undo()
            self._changed()

    def redo(self):
        """Take the undone step again."""
        self.take_note()
        if self.case is not None:
            self.case.redo()
            self._changed()

    def chosen(self):
        """The id of the finding in the selected row, or None."""
        item = self.ui.findingsTable.item(self.ui.findingsTable.currentRow(), 0)
        return None if item is None or self.case is None else int(item.text())

    def _timer(self, milliseconds, slot, single=False):
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        timer.setSingleShot(single)
        timer.connect("timeout()", slot)
        return timer

    def _make_table(self):
        titles = ["#", _("where"), _("ml"), _("peak z"), "q", "±", "✓", _("seen in")]
        table = self.ui.findingsTable
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
        for column, width in enumerate((26, 0, 44, 52, 48, 28, 24, 56)):
            table.setColumnWidth(column, width)
        table.horizontalHeader().setSectionResizeMode(WHERE, qt.QHeaderView.Stretch)
        for column, tip in enumerate(
            (
                _("Number of the finding, the largest first; also its value in the label map."),
                _("Side and region that most of it lies in."),
                _("Volume, ml."),
                _("Largest |score| with its sign, z."),
                _("Share of false alarms among findings as unusual as this one or more, for its size."),
                _("▲ brighter than expected, ▼ darker; ? above the uncertainty limit."),
                _("✓ kept, ✗ rejected."),
                _("The sequence that the finding's peak was seen in."),
            )
        ):
            table.horizontalHeaderItem(column).setToolTip(tip)

    def _on_false_alarms(self, tick):
        if self._showing or self.case is None:
            return
        if self.case.result.engine.false_alarms is not None:
            self._preview(self.settings_for(expected_at(tick)))

    def _on_threshold(self, threshold):
        if not self._showing and self.case is not None:
            self._preview(self.settings(threshold))

    def _on_fine(self, _value):
        if self._showing or self.case is None:
            return
        if self.case.result.engine.false_alarms is None:
            self._preview(self.settings(self.case.session.settings.threshold))
        else:  # the number of false alarms stays what the reader chose
            self._preview(self.settings_for(expected_at(self.ui.falseAlarmsSlider.value)))

    def _preview(self, settings):
        """Follow the slider; what is out of range is said and changes nothing."""
        from AnomalyDetectLib.errors import AnomalyDetectError

        try:
            self.case.preview(settings)
        except AnomalyDetectError as error:
            self.shell.say(str(error))
            return
        self._showing = True
        self.ui.thresholdSlider.value = settings.threshold
        self._show_numbers()
        self._showing = False
        self._settle_timer.start()

    def _settle(self):
        self._settle_timer.stop()
        if self.case is not None and self.case.nodes.alive:
            self.case.settle()
            self._changed()

    def _changed(self):
        self.shell.save_session()
        self.refresh()

    def _decide(self, verdict):
        self.take_note()
        finding = self.chosen()
        if finding is None:
            return
        if self.case.verdicts.get(finding) == verdict:
            self.case.reconsider(finding)
        elif verdict == "keep":
            self.case.keep(finding)
        else:
            self.case.reject(finding)
        self._changed()

    def _on_row(self):
        if self._showing or self.case is None:
            return
        self.take_note()
        self._show_note()
        row = self.ui.findingsTable.currentRow()
        table = self.case.findings.table
        if 0 <= row < len(table):
            self.case.jump(table[row])
        self._show_buttons()

    def _show_settings(self):
        if self.case is None:
            return
        settings = self.case.session.settings
        self.ui.thresholdSlider.maximum = max(LARGEST_Z, self.case.result.engine.largest_score)
        self.choose(self.ui.signSelector, settings.sign)
        self.ui.thresholdSlider.value = settings.threshold
        self._show_weak_threshold(settings)
        self.ui.openSlider.value = settings.open_mm
        self.ui.closeSlider.value = settings.close_mm
        self.ui.growSlider.value = settings.grow_mm
        self.ui.minimumSlider.value = settings.min_volume_mm3
        self.ui.fillBox.checked = settings.fill_holes
        self.ui.hideBox.checked = settings.hide_uncertain
        self._show_uncertainty_limit(settings)
        expected = self.case.expected()
        if expected is not None:
            self.ui.falseAlarmsSlider.value = tick_of(expected)

    def _show_weak_threshold(self, settings):
        """The right end is the threshold, rounded as the slider rounds; there, nothing is weaker."""
        slider = self.ui.weakSlider
        slider.maximum = max(round(settings.threshold, slider.decimals), slider.minimum)
        slider.value = slider.maximum if settings.hysteresis is None else settings.hysteresis

    def _show_uncertainty_limit(self, settings):
        """The slider reaches to the largest uncertainty that the map shows; there, nothing is uncertain."""
        slider, limit = self.ui.uncertaintySlider, settings.max_uncertainty
        slider.maximum = max(round(self.case.result.limits["uncertainty"], 1) + slider.singleStep, limit or 0)
        slider.value = slider.maximum if limit is None else limit

    def _show_numbers(self):
        if self.case is None:
            self.ui.falseAlarmsLabel.text = ""
            self.ui.meaningLabel.text = ""
            self.ui.summaryLabel.text = _("No findings yet: detect anomalies first.")
            return
        findings, expected = self.case.findings, self.case.expected()
        threshold = findings.settings.threshold
        if expected is None:
            self.ui.falseAlarmsLabel.text = _("(z ≥ {z:.2f})").format(z=threshold)
            self.ui.meaningLabel.text = _("This model has no calibration: only the threshold can be set.")
        else:
            self.ui.falseAlarmsLabel.text = _("{n:.2g}  (z ≥ {z:.2f})").format(n=expected, z=threshold)
            text = _("{n:.2g}: so many findings like these are expected in a healthy brain.")
            caveats = self.case.result.engine.false_alarms.caveats(findings.settings)
            self.ui.meaningLabel.text = " ".join([text.format(n=expected), *caveats])
        text = _("{n} findings, {ml:.1f} ml, {uncertain} uncertain")
        if len(findings) == 1:
            text = _("1 finding, {ml:.1f} ml, {uncertain} uncertain")
        if findings.n_hidden:
            text = _("{n} findings, {ml:.1f} ml; {uncertain} uncertain ones are hidden")
        self.ui.summaryLabel.text = text.format(
            n=len(findings), ml=findings.total_ml, uncertain=findings.n_uncertain
        )

    def _show_table(self):
        table, chosen = self.ui.findingsTable, self.chosen()
        rows = () if self.case is None else self.case.findings.table
        table.setRowCount(len(rows))
        table.setColumnHidden(SEQUENCE, not any(row.sequence for row in rows))
        for place, row in enumerate(rows):
            verdict = self.case.verdicts.get(row.id)
            cells = (
                str(row.id),
                f"{row.side} {row.location}".strip(),
                f"{row.volume_ml:.2f}",
                f"{row.peak_z:.1f}",
                "" if row.q is None else f"{row.q:.2g}",
                SIGNS[row.sign] + (UNCERTAIN if row.uncertain else ""),
                MARKS.get(verdict, ""),
                row.sequence,
            )
            tip = _("Uncertainty {u:.1f} z, mean {mean:.1f} z, longest diameter {mm:.0f} mm").format(
                u=row.uncertainty, mean=row.mean_z, mm=row.longest_diameter_mm
            )
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip)
                if verdict == "reject":
                    item.setForeground(qt.QBrush(qt.QColor("gray")))
                table.setItem(place, column, item)
            if row.id == chosen:
                table.selectRow(place)

    def _show_note(self):
        """Fill the line, unless it shows this finding already: what is being typed stays."""
        finding = self.chosen()
        note = "" if finding is None else self.case.notes.get(finding, "")
        if self._noted != (self.case, finding, note):
            self._noted = (self.case, finding, note)
            self.ui.noteEdit.text = note

    def _show_buttons(self):
        none = _("there are no findings") if self.ui.findingsTable.rowCount == 0 else ""
        unchosen = none or ("" if self.chosen() is not None else _("choose a finding in the table"))
        nothing = "" if self.case is not None and self.case.can_undo else _("there is no step to take back")
        undone = self.case is not None and self.case.session.can_redo
        for button, why_not, tip in (
            (self.ui.previousButton, none, _("Shows the previous finding (P).")),
            (self.ui.nextButton, none, _("Shows the next finding (N).")),
            (self.ui.keepButton, unchosen, _("Keeps the chosen finding (K).")),
            (self.ui.rejectButton, unchosen, _("Rejects the chosen finding; it is hidden (R).")),
            (
                self.ui.whyButton,
                unchosen or self.shell.why_not_explain(),
                _("Shows what the chosen finding's score is made of and which models see it (W)."),
            ),
            (self.ui.noteEdit, unchosen, _("A note on the chosen finding; Enter ends it (Ctrl+E).")),
            (self.ui.undoButton, nothing, _("Takes the last step back, whatever it was (Ctrl+Z).")),
            (
                self.ui.redoButton,
                "" if undone else _("no step was undone"),
                _("Takes it again (Ctrl+Shift+Z)."),
            ),
        ):
            self.enable(button, why_not, tip)
        usable = self.case is not None
        calibrated = usable and self.case.result.engine.false_alarms is not None
        why_not = _("detect anomalies first") if not usable else _("this model has no calibration")
        tip = _("How many findings a healthy brain would show on average: fewer to the left.")
        self.enable(self.ui.falseAlarmsSlider, "" if calibrated else why_not, tip)

    def _want_curves(self):
        """Compute the curve beside the event loop, when the fine settings have changed."""
        if self.case is None:
            self.ui.curveLabel.clear()
            self._curve_of = None
            return
        from AnomalyDetectLib.findings.settings import THRESHOLD_RANGE

        settings = self.case.session.settings
        wanted = (id(self.case), settings.changed(threshold=THRESHOLD_RANGE[1]))  # the same at any threshold
        if wanted == self._curve_of:
            self._draw()
        elif self._curve_work is None:
            engine = self.case.result.engine.fork()

            def work():
                import numpy

                from AnomalyDetectLib.findings.curves import curves

                top = max(12.0, 1.3 * settings.threshold)
                return curves(engine, settings, numpy.geomspace(1.5, top, CURVE_POINTS))

            self._curve_of, self._curves = wanted, None
            self._curve_work = Background(work)
            self._curve_timer.start()

    def _fetch_curves(self):
        if self._curve_work is None or not self._curve_work.done(0.01):
            return
        self._curve_timer.stop()
        work, self._curve_work = self._curve_work, None
        self._curves = work.result()
        self._draw()
        self._want_curves()

    def _draw(self):
        if self._curves is not None and self.case is not None:
            threshold = self.case.session.settings.threshold
            self.ui.curveLabel.setPixmap(draw(self._curves, threshold))
