"""What `slicer.util.load…` and `save…` call: nodes and scenes to and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from vtkmodules.vtkCommonCore import vtkStringArray

# vtkSlicerVolumesLogic::LoadingOptions::LabelMap
LABELMAP = 1
KINDS = {
    "SceneFile": (".mrml", ".mrb"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr", ".seg.nii.gz", ".seg.nii"),
    "VolumeFile": (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha"),
    "TransformFile": (".h5", ".tfm"),
}


class CoreIOManager:
    """The application's reader and writer, for the kinds of files that the extension uses."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def fileType(self, path: str) -> str:
        """The kind that a file's name says it is."""
        name = str(path).lower()
        return next((kind for kind, ends in KINDS.items() if name.endswith(ends)), "UnknownFile")

    def fileWriterFileType(self, node: Any) -> str:
        """One writer for all nodes."""
        return "NodeFile"

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any, messages: Any) -> bool:
        """Read a file; the new node goes into the collection `loaded`."""
        path = str(properties["fileName"])
        name = properties.get("name") or Path(path).name.split(".")[0]
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)), messages)
        node = None
        if kind == "VolumeFile":
            option = LABELMAP if properties.get("labelmap") else 0
            logic = slicer.modules.volumes.logic()
            node = logic.AddArchetypeVolume(path, name, option, vtkStringArray())
        elif kind == "SegmentationFile":
            node = slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True, name)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any) -> bool:
        """Write a node or the scene."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return self._save_scene(path, messages)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _save_scene(self, path: str, messages: Any) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, messages))
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Commit(path, messages))
