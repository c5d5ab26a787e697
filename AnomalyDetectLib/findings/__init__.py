"""The live findings engine: from anomaly maps to a labelmap and a table, at the pace of a slider."""

from AnomalyDetectLib.findings.atlas import Region, RegionAtlas
from AnomalyDetectLib.findings.curves import Curves, HealthyBand, curves
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.false_alarms import FalseAlarmTable, benjamini_hochberg
from AnomalyDetectLib.findings.findings import Finding, Findings
from AnomalyDetectLib.findings.session import Decision, Session
from AnomalyDetectLib.findings.settings import FindingsSettings
from AnomalyDetectLib.findings.thresholds import Method, ThresholdChoice
from AnomalyDetectLib.findings.tracker import Tracker, colour_of

__all__ = [
    "Curves",
    "Decision",
    "FalseAlarmTable",
    "Finding",
    "Findings",
    "FindingsEngine",
    "FindingsSettings",
    "HealthyBand",
    "Method",
    "Region",
    "RegionAtlas",
    "Session",
    "ThresholdChoice",
    "Tracker",
    "benjamini_hochberg",
    "colour_of",
    "curves",
]
