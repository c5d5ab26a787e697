# Stand-in: Slicer packages what the component RuntimeLibraries installs.
