"""Slicer without a Slicer application: slicer-core booted as `slicer`, Qt stand-ins, offscreen views."""
