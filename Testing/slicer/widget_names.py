"""The properties and signals that the real widgets have, as their headers name them.

From Qt (documentation of the classes), CTK (ctkSliderWidget.h, ctkCollapsibleButton.h) and
Slicer (qMRMLNodeComboBox.h, qMRMLWidget.h). Only what the panels use is listed; a new name goes
here after a look at the header.
"""

from __future__ import annotations

WIDGET = {"toolTip", "enabled", "visible", "styleSheet", "minimumWidth", "minimumHeight", "objectName"}
BUTTON = WIDGET | {"text", "checkable", "checked"}
ITEM_VIEW = WIDGET | {"selectionBehavior", "selectionMode", "editTriggers"}

PROPERTIES = {
    "QWidget": WIDGET,
    "qMRMLWidget": WIDGET,
    "QLabel": WIDGET | {"text", "wordWrap", "textInteractionFlags", "alignment", "pixmap"},
    "QPushButton": BUTTON,
    "QToolButton": BUTTON,
    "QRadioButton": BUTTON,
    "QCheckBox": BUTTON,
    "QComboBox": WIDGET | {"currentIndex", "currentText", "count"},
    "QLineEdit": WIDGET | {"text", "placeholderText"},
    "QProgressBar": WIDGET | {"minimum", "maximum", "value", "format"},
    "QAction": {"text", "shortcut", "enabled"},
    "QSlider": WIDGET | {"minimum", "maximum", "value", "orientation"},
    "QTableWidget": ITEM_VIEW | {"rowCount", "columnCount"},
    "ctkCollapsibleButton": BUTTON | {"collapsed", "collapsedHeight"},
    "ctkSliderWidget": WIDGET
    | {"decimals", "singleStep", "pageStep", "minimum", "maximum", "value", "prefix", "suffix", "tracking"},
    "qMRMLNodeComboBox": WIDGET
    | {
        "nodeTypes",
        "showHidden",
        "showChildNodeTypes",
        "noneEnabled",
        "addEnabled",
        "removeEnabled",
        "editEnabled",
        "renameEnabled",
        "selectNodeUponCreation",
        "currentNodeID",
    },
}

CLICKS = {"clicked()", "clicked(bool)", "toggled(bool)", "pressed()", "released()"}
SIGNALS = {
    "QPushButton": CLICKS,
    "QToolButton": CLICKS,
    "QRadioButton": CLICKS,
    "QCheckBox": CLICKS,
    "QComboBox": {"currentIndexChanged(int)", "currentTextChanged(QString)"},
    "QLineEdit": {"textChanged(QString)", "editingFinished()", "returnPressed()"},
    "QSlider": {"valueChanged(int)", "sliderPressed()", "sliderReleased()", "sliderMoved(int)"},
    "QTableWidget": {"itemSelectionChanged()", "cellClicked(int,int)"},
    "QTimer": {"timeout()"},
    "QShortcut": {"activated()"},
    "ctkCollapsibleButton": CLICKS | {"contentsCollapsed(bool)"},
    "ctkSliderWidget": {"valueChanged(double)", "valueIsChanging(double)"},
    "qMRMLNodeComboBox": {"currentNodeChanged(vtkMRMLNode*)", "currentNodeIDChanged(QString)"},
}
