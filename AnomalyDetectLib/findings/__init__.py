"""The live findings engine: from anomaly maps to a labelmap and a table, at the pace of a slider."""

from AnomalyDetectLib.findings.atlas import Region, RegionAtlas
from AnomalyDetectLib.findings.engine import FindingsEngine
from AnomalyDetectLib.findings.findings import Finding, Findings
from AnomalyDetectLib.findings.settings import FindingsSettings

__all__ = [
    "Finding",
    "Findings",
    "FindingsEngine",
    "FindingsSettings",
    "Region",
    "RegionAtlas",
]
