"""What reaches a user's Slicer: the lists that CMake packages, and the extension installed from them.

Installed against a stand-in for Slicer's CMake package; a build against Slicer itself is a check of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).parent / "stand_in_slicer"
SCRIPTED = Path("lib", "Slicer-5.12", "qt-scripted-modules")

specification = importlib.util.spec_from_file_location(
    "cmake_lists", Path(__file__).with_name("cmake_lists.py")
)
assert specification is not None
assert specification.loader is not None
cmake_lists = importlib.util.module_from_spec(specification)
specification.loader.exec_module(cmake_lists)


def program(name: str) -> str:
    """A program that came with this Python, else one of the system's; skips the test when there is none."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}; install it with: python -m pip install {name}")
    return found


def test_every_file_is_packaged_and_every_packaged_file_is_there() -> None:
    lines = cmake_lists.differences()
    assert not lines, "\n".join([*lines, f"run: {cmake_lists.COMMAND}"])


def test_the_lists_hold_the_library_its_models_and_the_module() -> None:
    wanted = cmake_lists.wanted()
    assert "mrml/__init__.py" in wanted["AnomalyDetectLib/CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS"]
    assert "py.typed" in wanted["AnomalyDetectLib/CMakeLists.txt", "LIBRARY_RESOURCES"]
    data = wanted["Resources/CMakeLists.txt", "LIBRARY_DATA"]
    assert "Models/brain-extraction/weights.safetensors" in data
    assert not [name for name in data if name.startswith("Screenshots")]
    assert (
        "Resources/Icons/AnomalyDetect.png"
        in wanted["AnomalyDetect/CMakeLists.txt", "MODULE_PYTHON_RESOURCES"]
    )


def test_a_new_file_is_named_until_the_lists_are_written_anew(tmp_path: Path) -> None:
    for folder in ("AnomalyDetectLib", "AnomalyDetect", "Resources"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / "CMakeLists.txt", tmp_path / folder)
    for name in ("AnomalyDetectLib/z.py", "AnomalyDetectLib/a/b.py", "AnomalyDetect/Resources/UI/Scan.ui"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lines = cmake_lists.differences(tmp_path)
    assert "AnomalyDetect/Resources/UI/Scan.ui: not listed in AnomalyDetect/CMakeLists.txt" in lines
    assert "AnomalyDetectLib/cli.py: listed in AnomalyDetectLib/CMakeLists.txt but not there" in lines
    cmake_lists.rewrite(tmp_path)
    assert cmake_lists.differences(tmp_path) == []
    text = (tmp_path / "AnomalyDetectLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "set(LIBRARY_PYTHON_SCRIPTS\n  a/b.py\n  z.py\n  )" in text
    assert "NO_INSTALL_SUBDIR" in text


def test_the_packaged_files_fit_the_index() -> None:
    sizes = {
        (file, name): (ROOT / file).parent.joinpath(name).stat().st_size
        for (file, _), names in cmake_lists.wanted().items()
        for name in names
    }
    assert sum(sizes.values()) < 100e6


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules after CMake has configured, built and installed the extension."""
    cmake, ninja = program("cmake"), program("ninja")
    if shutil.which("cc") is None and shutil.which("cl") is None:
        pytest.skip("no C compiler, which CMake's `project` asks for")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("Slicer eins ü")
    given = {
        "CMAKE_MAKE_PROGRAM": ninja,
        "Slicer_DIR": STAND_IN,
        "CMAKE_C_COMPILER_WORKS": 1,  # nothing is compiled
        "CMAKE_CXX_COMPILER_WORKS": 1,
    }
    definitions = [f"-D{name}={value}" for name, value in given.items()]
    steps = [
        [cmake, "-S", ROOT, "-B", build, "-G", "Ninja", *definitions],
        [cmake, "--build", build],
        [cmake, "--install", build, "--prefix", prefix, "--component", "RuntimeLibraries"],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return prefix / SCRIPTED


def run_there(installed: Path, code: str, *more: Path) -> str:
    """What a Python prints that finds the installed tree and not the checkout."""
    paths = os.pathsep.join(str(path) for path in (installed, *more))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=installed
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_installed_tree_holds_what_the_lists_name(installed: Path) -> None:
    wanted = cmake_lists.wanted()
    folders = {
        "AnomalyDetectLib": "AnomalyDetectLib",
        "AnomalyDetect": ".",
        "Resources": "AnomalyDetectLib/Resources",
    }
    for (file, _), names in wanted.items():
        folder = installed / folders[Path(file).parent.as_posix()]
        assert [name for name in names if not (folder / name).is_file()] == []


def test_the_library_works_from_the_installed_tree(installed: Path) -> None:
    code = """
import json, AnomalyDetectLib
from AnomalyDetectLib import cli, pipeline, preflight, resources, worker, worker_client
from AnomalyDetectLib.models import zoo
pipeline.load_head_network()
detector = pipeline.load_detector(zoo.choose("auto", "T1"))
scan = resources.resource("SampleData", "demo_t1.nii.gz")
places = [AnomalyDetectLib.__file__, str(scan), str(detector.card.folder)]
print(json.dumps([places, preflight.examine().complete, worker_client.worker_environment("x")["PYTHONPATH"]]))
"""
    places, complete, path = json.loads(run_there(installed, code))
    assert all(Path(place).is_relative_to(installed) for place in places), places
    assert complete
    assert Path(path) == installed


def test_the_module_and_its_panels_are_imported_from_the_installed_tree(installed: Path) -> None:
    for needed in ("slicer", "PySide6"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    code = """
from Testing.slicer_host import python_qt, scripted_module
from Testing.slicer_host.boot import boot
boot()
python_qt.install()
scripted_module.install()
import importlib, json, pkgutil, AnomalyDetect, AnomalyDetectLib, AnomalyDetectPanels
names = [f"AnomalyDetectPanels.{found.name}" for found in pkgutil.iter_modules(AnomalyDetectPanels.__path__)]
panels = [importlib.import_module(name) for name in names]
print(json.dumps([module.__file__ for module in (AnomalyDetect, AnomalyDetectLib, *panels)]))
"""
    places = json.loads(run_there(installed, code, ROOT))
    assert len(places) > 2
    assert [place for place in places if not Path(place).is_relative_to(installed)] == []


def test_the_extension_says_brain_and_lesion_and_depends_on_pytorch() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^set\(EXTENSION_(\w+) "(.*)"\)$', text, re.MULTILINE))
    assert {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"} <= set(fields)
    assert fields["DEPENDS"] == "PyTorch"
    for word in ("brain", "lesion", "Not a medical device"):
        assert word in fields["DESCRIPTION"]
    assert "VERSION 3.28" in text


def test_the_entry_of_the_extensions_index_has_the_fields_of_its_schema() -> None:
    entry = json.loads((ROOT / "AnomalyDetect.json").read_text(encoding="utf-8"))
    assert set(entry) == {
        "$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier",
    }  # fmt: skip
    assert entry["category"] == "Segmentation"
    assert entry["build_dependencies"] == ["PyTorch"]
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'set(EXTENSION_HOMEPAGE "{entry["scm_url"]}")' in text


def test_the_icon_is_128_pixels_on_a_transparent_ground() -> None:
    with Image.open(ROOT / "AnomalyDetect" / "Resources" / "Icons" / "AnomalyDetect.png") as icon:
        assert icon.size == (128, 128)
        assert icon.mode == "RGBA"
        assert icon.getpixel((0, 0))[3] == 0


def test_the_icon_and_the_pictures_that_are_shown_are_in_the_repository_and_no_others() -> None:
    listed = re.findall(
        r"\$\{EXTENSION_HOMEPAGE\}/raw/main/([\w./]+\.png)",
        (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"),
    )
    read = re.findall(r"!\[[^\]]+\]\(([\w./]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(listed) == 2
    assert read
    for path in (*listed, *read):
        assert (ROOT / path).is_file(), path
    drawn = {f"Resources/Screenshots/{path.name}" for path in (ROOT / "Resources" / "Screenshots").iterdir()}
    assert drawn == {path for path in (*listed, *read) if "Screenshots" in path}
