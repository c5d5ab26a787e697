"""Where models, template and sample data lie: beside the library in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from AnomalyDetectLib.errors import AnomalyDetectError

PACKAGE = Path(__file__).resolve().parent


def resources_folder() -> Path:
    """The folder that holds Models/, Template/ and SampleData/.

    Raises `AnomalyDetectError` when neither the installed package nor the checkout has one.
    """
    candidates = (PACKAGE / "Resources", PACKAGE.parent / "Resources")
    for candidate in candidates:
        if (candidate / "Models").is_dir():
            return candidate
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise AnomalyDetectError(f"Resources: no folder Models in {looked}; install anomalydetect again")


def resource(*parts: str) -> Path:
    """The path of one resource, such as `resource("SampleData", "demo_t1.nii.gz")`.

    Raises `AnomalyDetectError` when it is not there.
    """
    path = resources_folder().joinpath(*parts)
    if not path.exists():
        name = "/".join(parts)
        raise AnomalyDetectError(f"{name}: not in {resources_folder()}; install anomalydetect again")
    return path
