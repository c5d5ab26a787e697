"""Find strings that a user sees and a translator doesn't: literals outside `_()` and f-strings inside it.

A literal is shown when it is given to a widget (a property such as `toolTip`, a call such as `setText`), and
it is taken for shown when it reads like words: two in a row. Left out are docstrings, log messages, keys,
annotations, names of contributors and test classes. A line with the comment NOT_SHOWN is believed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

NOT_SHOWN = "# not shown"
TRANSLATORS = ("_", "tr", "translate")
PROPERTIES = {
    "text", "toolTip", "title", "windowTitle", "placeholderText", "statusTip", "whatsThis", "helpText",
    "acknowledgementText", "plainText", "html", "noneDisplay", "specialValueText", "collapsedText", "label",
}  # fmt: skip
CALLS = {
    "setText", "setToolTip", "setTitle", "setWindowTitle", "setPlaceholderText", "setStatusTip",
    "setWhatsThis", "setItemText", "setTabText", "setTabToolTip", "setHorizontalHeaderLabels",
    "setVerticalHeaderLabels", "setHeaderLabels", "setHeaderLabel", "setLabelText",
    "setInformativeText", "setDetailedText", "setPlainText", "addItem", "addItems", "addTab", "addRow",
    "addAction", "addMenu", "insertItem", "appendPlainText", "showStatusMessage", "showMessage",
    "errorDisplay", "infoDisplay", "warningDisplay", "messageBox", "delayDisplay",
    "confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay", "createProgressDialog",
    "tryWithErrorDisplay", "QLabel", "QPushButton", "QCheckBox", "QRadioButton", "QAction", "QGroupBox",
    "QTableWidgetItem", "QTreeWidgetItem", "QListWidgetItem", "information", "warning", "critical",
    "question",
}  # fmt: skip
# Calls whose first argument alone is shown: the second is the entry's data.
FIRST_ALONE = ("addItem",)
NAMES = ("contributors",)
LOGGERS = {"logging", "logger", "log"}
WORDS = re.compile(r"[^\W\d_]{2,}[,.:;!?]? [^\W\d_]{2,}")
LETTERS = re.compile(r"[^\W\d_]{2,}")


def problems(source: str, name: str = "source") -> list[str]:
    """One line, with the place, for each string that escapes translation."""
    lines = source.splitlines()
    found = []
    for node, message in sorted(_Search(source).found, key=lambda pair: pair[0].lineno):
        last = node.end_lineno or node.lineno
        if not any(NOT_SHOWN in lines[number] for number in range(node.lineno - 1, last)):
            found.append(f"{name}:{node.lineno}: {message}")
    return found


def problems_below(folder: Path) -> list[str]:
    """The problems of every Python file below a folder."""
    return [
        line
        for file in sorted(folder.rglob("*.py"))
        for line in problems(file.read_text(encoding="utf-8"), file.relative_to(folder).as_posix())
    ]


class _Search(ast.NodeVisitor):
    """Walks a module; `found` holds nodes with what is wrong about them."""

    def __init__(self, source: str) -> None:
        self.found: list[tuple[ast.expr, str]] = []
        tree = ast.parse(source)
        self._skipped = {id(node) for node in _docstrings(tree)}
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> None:
        if _name(node.func) in TRANSLATORS:
            self._check_translated(node)
            return
        if _is_log(node.func):
            return
        if _name(node.func) in CALLS:
            shown = node.args[:1] if _name(node.func) in FIRST_ALONE else node.args
            for argument in (*shown, *(keyword.value for keyword in node.keywords)):
                self._report_shown(argument)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if not any(_name(base).endswith("Test") for base in node.bases):  # a developer reads these
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Attribute) and target.attr in NAMES for target in node.targets):
            return
        if any(isinstance(target, ast.Attribute) and target.attr in PROPERTIES for target in node.targets):
            self._report_shown(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:  # the annotation is code
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and WORDS.search(node.value):
            self._report(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        if WORDS.search(_literal_text(node)):
            self._report(node)
            return
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value.value)

    def _check_translated(self, node: ast.Call) -> None:
        text = node.args[-1] if node.args else None
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            kind = "an f-string" if isinstance(text, ast.JoinedStr) else "no plain literal"
            what = (
                f"{kind} inside {_name(node.func)}(): no translator can see it; use _('… {{x}}').format(x=x)"
            )
            self.found.append((node, what))

    def _report_shown(self, node: ast.expr) -> None:
        """Report the literals that a shown expression consists of."""
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            if LETTERS.search(_literal_text(node)):
                self._report(node)
        elif isinstance(node, (ast.List, ast.Tuple)):
            for element in node.elts:
                self._report_shown(element)
        elif isinstance(node, ast.IfExp):
            self._report_shown(node.body)
            self._report_shown(node.orelse)
        elif isinstance(node, ast.BinOp):
            self._report_shown(node.left)
            self._report_shown(node.right)

    def _report(self, node: ast.Constant | ast.JoinedStr) -> None:
        if id(node) not in self._skipped:
            self._skipped.add(id(node))
            text = _literal_text(node)[:60]
            self.found.append((node, f"{text!r} is shown but not translated; wrap it in _()"))


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    """Strings that stand alone as a statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _name(function: ast.expr) -> str:
    """The last part of a called name."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_log(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in LOGGERS
    )


def _literal_text(node: ast.Constant | ast.JoinedStr) -> str:
    """The text of a string literal, with 0 in the place of each value of an f-string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in node.values)
