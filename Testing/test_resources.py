"""Models, template and sample data are found in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from AnomalyDetectLib import resources
from AnomalyDetectLib.errors import AnomalyDetectError


def test_a_checkout_has_its_resources_beside_the_library() -> None:
    assert resources.resources_folder().name == "Resources"
    assert resources.resource("SampleData", "demo.json").is_file()


def test_an_installed_wheel_has_them_inside_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "AnomalyDetectLib"
    (package / "Resources" / "Models").mkdir(parents=True)
    (package.parent / "Resources" / "Models").mkdir(parents=True)  # of another package
    monkeypatch.setattr(resources, "PACKAGE", package)
    assert resources.resources_folder() == package / "Resources"


def test_a_broken_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "AnomalyDetectLib")
    with pytest.raises(AnomalyDetectError, match="install anomalydetect again"):
        resources.resources_folder()


def test_a_resource_that_is_not_there_is_named() -> None:
    with pytest.raises(AnomalyDetectError, match="Models/nothing: not in"):
        resources.resource("Models", "nothing")
