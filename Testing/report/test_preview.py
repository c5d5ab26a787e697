"""The picture shows scan, healthy version and score where a radiologist expects them."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from AnomalyDetectLib.report.preview import PLANES, compose, overlay, write_preview
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Volume
from Testing.report.cases import SHAPE, affine, case, finding


def picture(path: Path, matrix: np.ndarray | None = None, *, found: bool = True) -> np.ndarray:
    """The picture's pixels (rows, columns, RGB), 0-1."""
    volume, maps, labelmap = case(matrix)
    rows = [finding()] if found else []
    labels = labelmap if found else np.zeros_like(labelmap)
    write_preview(volume, maps, labels, rows, path, case="case", model="restore-t1 1.0", threshold=3.5)
    return np.asarray(matplotlib.image.imread(path))[..., :3]


def coloured(pixels: np.ndarray, hue: str) -> np.ndarray:
    """Where a picture is orange or blue, above the legend: bool (rows, columns)."""
    above = pixels[: int(0.9 * len(pixels))]
    difference = above[..., 0] - above[..., 2]
    return difference > 0.3 if hue == "orange" else difference < -0.3


def test_the_same_case_gives_the_same_picture(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_colour_is_in_the_third_column_alone(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    columns = np.flatnonzero(coloured(pixels, "orange").any(0))
    assert columns.min() > 2 / 3 * pixels.shape[1]


def test_a_lesion_on_the_patients_left_is_on_the_right_of_the_axial_picture(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    axial = coloured(pixels[: len(pixels) // 3], "orange")
    middle = (2 / 3 + 1 / 6) * pixels.shape[1]
    assert np.flatnonzero(axial.any(0)).mean() > middle


def test_brighter_is_orange_and_darker_is_blue(tmp_path: Path) -> None:
    volume, maps, labelmap = case()
    write_preview(
        volume,
        maps,
        labelmap,
        [finding(id=2, sign="dark", peak_z=-6.0, centroid_ras_mm=(5.5, -4.5, 1.0))],
        tmp_path / "dark.png",
        case="case",
        model="m",
        threshold=3.5,
    )
    pixels = np.asarray(matplotlib.image.imread(tmp_path / "dark.png"))[..., :3]
    assert coloured(pixels, "blue").sum() > 100
    assert coloured(picture(tmp_path / "bright.png"), "orange").sum() > 100


def test_normal_tissue_stays_unveiled(tmp_path: Path) -> None:
    volume, maps, labelmap = case()
    scene = compose(volume, maps, labelmap, [finding()], 3.5)
    below = np.full((4, 4), 3.4, np.float32)
    assert not overlay(below, scene)[..., 3].any()
    assert (overlay(below + 0.2, scene)[..., 3] > 0).all()


@pytest.mark.parametrize("codes", ["LPS", "PSR", "AIL", "SRA"])
def test_the_picture_does_not_depend_on_how_the_scan_is_stored(tmp_path: Path, codes: str) -> None:
    volume, maps, labelmap = case()
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))

    def turned(array: np.ndarray) -> np.ndarray:
        return np.asarray(nib.orientations.apply_orientation(array, turn))

    stored = Volume(turned(volume.array), volume.affine @ inv_ornt_aff(turn, SHAPE), "T1", "case.nii.gz")
    names = ("brain", "healthy", "residual", "score", "uncertainty")
    others = AnomalyMaps(grid=stored.grid, **{name: turned(getattr(maps, name)) for name in names})
    first = compose(volume, maps, labelmap, [finding()], 3.5)
    second = compose(stored, others, turned(labelmap), [finding()], 3.5)
    for plane in PLANES:
        for name in ("scan", "score", "labelmap"):
            shown = [scene.slice_of(getattr(scene, name), plane) for scene in (first, second)]
            np.testing.assert_array_equal(shown[0], shown[1])


def test_thick_slices_are_drawn_as_thick_as_they_are() -> None:
    volume, maps, labelmap = case(affine((1.0, 1.0, 4.0)))
    scene = compose(volume, maps, labelmap, [], 3.5)
    width, height = scene.extent_mm(PLANES[1])
    assert height > 2.5 * width


def test_without_findings_the_middle_of_the_brain_is_shown(tmp_path: Path) -> None:
    volume, maps, labelmap = case()
    scene = compose(volume, maps, np.zeros_like(labelmap), [], 3.5)
    np.testing.assert_allclose(scene.at, [0, 0, 0], atol=1.0)
    picture(tmp_path / "none.png", found=False)


def test_a_finding_at_the_edge_of_the_scan_is_still_drawn(tmp_path: Path) -> None:
    volume, maps, labelmap = case()
    far = finding(centroid_ras_mm=(-500.0, 0.0, 900.0))
    write_preview(volume, maps, labelmap, [far], tmp_path / "a.png", case="x" * 200, model="m", threshold=3.5)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_case_without_brain_is_drawn_whole(tmp_path: Path) -> None:
    volume, _, labelmap = case()
    empty = AnomalyMaps.from_score(np.zeros(SHAPE, np.float32), affine=volume.affine)
    write_preview(volume, empty, labelmap, [], tmp_path / "a.png", case="$x$ a_b", model="m", threshold=3.5)
    assert (tmp_path / "a.png").stat().st_size > 1000
