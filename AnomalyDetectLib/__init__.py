"""AnomalyDetect: normative models show what is unusual in a brain scan. For research, not a medical
device.
"""

__version__ = "0.1.0"
