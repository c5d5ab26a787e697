"""What the rows of the table say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.findings import FindingsEngine, FindingsSettings, RegionAtlas, colour_of
from AnomalyDetectLib.scoring.maps import AnomalyMaps
from AnomalyDetectLib.volume import Grid

REGIONS = "id\tname\tside\n1\tfrontal white matter\tright\n2\tcerebellum\tleft\n3\tbrainstem\tmidline\n"


def rod(affine: np.ndarray) -> FindingsEngine:
    """A dark rod of 10 x 2 x 2 voxels with one voxel that stands out."""
    score = np.zeros((30, 20, 20), dtype=np.float32)
    score[5:15, 6:8, 9:11] = -4
    score[7, 6, 9] = -6
    return FindingsEngine(
        AnomalyMaps.from_score(score, brain=np.ones(score.shape, dtype=bool), affine=affine)
    )


def test_a_row_gives_volume_peak_mean_and_sign_with_their_signs() -> None:
    (row,) = rod(np.diag([2.0, 1.0, 3.0, 1.0])).at(FindingsSettings(threshold=3)).table
    assert row.id == 1
    assert row.volume_ml == pytest.approx(40 * 6 / 1000)
    assert row.sign == "dark"
    assert row.peak_z == pytest.approx(-6)
    assert row.mean_z == pytest.approx(-(39 * 4 + 6) / 40)
    assert (row.location, row.side) == ("unknown", "")
    assert row.p is None
    assert row.q is None


def test_the_centroid_is_in_patient_space_whatever_the_axes() -> None:
    affine = np.array([[0, -2, 0, 90], [1.5, 0, 0, -126], [0, 0.3, 4, -72], [0, 0, 0, 1]], dtype=float)
    (row,) = rod(affine).at(FindingsSettings(threshold=3)).table
    np.testing.assert_allclose(row.centroid_ras_mm, affine[:3] @ [9.5, 6.5, 9.5, 1])


def test_the_longest_diameter_is_between_the_farthest_voxel_centres() -> None:
    (row,) = rod(np.diag([2.0, 1.0, 3.0, 1.0])).at(FindingsSettings(threshold=3)).table
    assert row.longest_diameter_mm == pytest.approx(np.sqrt(18**2 + 1 + 9))


def test_the_longest_diameter_of_a_large_finding_is_that_of_all_its_pairs(case, plain) -> None:
    (row,) = case({(20, 20, 20): (14, 5.0)}).at(plain).table
    assert row.longest_diameter_mm == pytest.approx(28)


@pytest.mark.parametrize("flat", [np.s_[3, :, :], np.s_[:, 5, :], np.s_[2, 3, :], np.s_[2, 3, 4]])
def test_flat_thin_and_single_findings_have_a_diameter(flat: tuple[slice | int, ...]) -> None:
    score = np.zeros((30, 30, 30), dtype=np.float32)
    score[flat] = 5
    (row,) = FindingsEngine(AnomalyMaps.from_score(score)).at(FindingsSettings(min_volume_mm3=0)).table
    extents = np.ptp(np.argwhere(score), axis=0)
    assert row.longest_diameter_mm == pytest.approx(np.linalg.norm(extents))
    assert np.isfinite(row.elongation)


def test_a_rod_is_elongated_and_a_ball_is_not(case, plain) -> None:
    (long_one,) = rod(np.eye(4)).at(FindingsSettings(threshold=3)).table
    (round_one,) = case({(20, 20, 20): (6, 5.0)}).at(plain).table
    assert long_one.elongation == pytest.approx(5, rel=0.01)
    assert round_one.elongation == pytest.approx(1, rel=0.01)


def test_the_largest_finding_comes_first_and_ids_count_up(case, plain) -> None:
    engine = case({(8, 8, 8): (3, 5.0), (25, 25, 25): (6, 4.0), (8, 30, 8): (4, 9.0)})
    rows = engine.at(plain).table
    assert [row.id for row in rows] == [1, 2, 3]
    assert [row.volume_ml for row in rows] == sorted((row.volume_ml for row in rows), reverse=True)


def uncertain_case(case) -> FindingsEngine:
    engine = case({(8, 8, 8): (3, 5.0), (28, 28, 28): (5, 5.0)})
    uncertainty = np.zeros(engine.maps.grid.shape, dtype=np.float32)
    uncertainty[:16] = 2
    return FindingsEngine(replace(engine.maps, uncertainty=uncertainty))


def test_uncertain_findings_are_hidden_and_their_number_is_told(case, plain) -> None:
    findings = uncertain_case(case).at(plain.changed(max_uncertainty=1))
    assert len(findings) == 1
    assert findings.n_hidden == findings.n_uncertain == 1
    assert findings.labelmap[8, 8, 8] == 0


def test_uncertain_findings_can_stay_marked(case, plain) -> None:
    findings = uncertain_case(case).at(plain.changed(max_uncertainty=1, hide_uncertain=False))
    assert [(row.uncertain, row.uncertainty) for row in findings.table] == [(False, 0), (True, 2)]
    assert (findings.n_hidden, findings.n_uncertain) == (0, 1)


@pytest.fixture
def atlas(tmp_path: Path) -> RegionAtlas:
    (tmp_path / "regions.tsv").write_text(REGIONS, encoding="utf-8")
    return RegionAtlas.load(tmp_path / "regions.tsv")


def located(atlas: RegionAtlas, codes: list[int]) -> tuple[str, str]:
    """Location and side of a finding whose voxels have these codes."""
    score = np.full((1, 1, len(codes)), 5, dtype=np.float32)
    maps = AnomalyMaps.from_score(score)
    maps = replace(maps, region=np.array(codes, dtype=np.uint8).reshape(score.shape))
    (row,) = FindingsEngine(maps, atlas=atlas).at(FindingsSettings(min_volume_mm3=0)).table
    return row.location, row.side


def test_a_finding_lies_where_most_of_it_lies(atlas: RegionAtlas) -> None:
    assert located(atlas, [1, 1, 2, 1, 0]) == ("frontal white matter", "right")
    assert located(atlas, [3, 3, 3]) == ("brainstem", "midline")


def test_a_finding_mostly_outside_of_the_atlas_says_so(atlas: RegionAtlas) -> None:
    assert located(atlas, [0, 0, 0, 2]) == ("unknown, near cerebellum", "left")
    assert located(atlas, [0, 0, 99]) == ("unknown", "")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id\tname\n1\tx\n", "column 'side' is missing"),
        ("id\tname\tside\n0\tx\tleft\n", "'0' is not a whole number from 1 to 255"),
        ("id\tname\tside\none\tx\tleft\n", "'one' is not a whole number"),
        ("id\tname\tside\n1\tx\tleft\n1\ty\tleft\n", "id 1 is listed twice"),
        ("id\tname\tside\n1\tx\tport\n", "side 'port' of id 1"),
    ],
)
def test_a_bad_table_of_regions_says_what_is_wrong(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "regions.tsv").write_text(table, encoding="utf-8")
    with pytest.raises(AnomalyDetectError, match=message):
        RegionAtlas.load(tmp_path / "regions.tsv")


def test_a_colour_belongs_to_an_id_and_neighbours_differ() -> None:
    assert colour_of(7) == colour_of(7)
    colours = np.array([colour_of(finding_id) for finding_id in range(1, 13)])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2) + np.eye(len(colours))
    assert distances.min() > 0.05


def test_the_grid_of_the_labelmap_is_the_scans(case, plain) -> None:
    engine = case({(20, 20, 20): (5, 5.0)})
    assert engine.at(plain).maps.grid.same_as(Grid((40, 40, 40), np.eye(4)))
    assert engine.at(plain).labelmap.shape == (40, 40, 40)
