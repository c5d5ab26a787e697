"""Runs the module's self-test inside a Slicer application and ends it with the test's result.

make slicer-test SLICER=path/to/Slicer
"""

import sys
import traceback

import slicer

try:
    import AnomalyDetect

    AnomalyDetect.AnomalyDetectTest().runTest()
except Exception:
    traceback.print_exc()
    slicer.util.exit(slicer.util.EXIT_FAILURE)
else:
    sys.stdout.write("AnomalyDetect: the self-test passed\n")
    slicer.util.exit(slicer.util.EXIT_SUCCESS)
