"""The panels of the module, one a task, from top to bottom in the order of work."""
