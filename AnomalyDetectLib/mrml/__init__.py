"""All that talks to MRML: nodes, display, views, segments, hand-over. Runs in Slicer and on slicer-core.

Importing it needs nothing but Slicer's own modules and NumPy: what is installed on first use is imported in
functions.
"""
