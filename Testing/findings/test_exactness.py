"""The labelmap that a reader sees equals the plain chain, voxel for voxel, whatever the sliders say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from AnomalyDetectLib.evaluation.findings_benchmark import CASES, drags, synthetic_maps
from AnomalyDetectLib.evaluation.findings_reference import reference_findings
from AnomalyDetectLib.findings import FindingsEngine, FindingsSettings
from AnomalyDetectLib.findings.cavities import CavityLevels, filled
from AnomalyDetectLib.findings.component_tree import ComponentTree
from AnomalyDetectLib.findings.morphology import closed, dilate, erode, opened
from AnomalyDetectLib.scoring.maps import AnomalyMaps

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=40)


@st.composite
def maps(draw: st.DrawFn) -> AnomalyMaps:
    """Noise from rough to smooth, on cubes, slabs, rods and single voxels, in brains with holes and
    islands.
    """
    shape = tuple(draw(st.integers(1, 18)) for _ in range(3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    score = ndimage.gaussian_filter(random.standard_normal(shape), draw(st.sampled_from([0.0, 0.7, 1.5])))
    score *= 2 / (score.std() + 1e-9)
    brain = ndimage.gaussian_filter(random.standard_normal(shape), 1.5) > draw(
        st.sampled_from([-9, -0.1, 0.1])
    )
    if draw(st.booleans()):
        score.flat[:: draw(st.integers(1, 50))] = np.nan
    spacing = [draw(st.sampled_from([0.7, 1.0, 2.0, 5.5])) * draw(st.sampled_from([1, -1])) for _ in range(3)]
    plain = AnomalyMaps.from_score(
        np.zeros(shape, dtype=np.float32), brain=brain, affine=np.diag([*spacing, 1])
    )
    return AnomalyMaps(
        grid=plain.grid,
        brain=brain,
        healthy=plain.healthy,
        residual=plain.residual,
        score=score.astype(np.float32),
        uncertainty=random.random(shape, dtype=np.float32),
    )


@st.composite
def choices(draw: st.DrawFn) -> FindingsSettings:
    """Any combination of settings."""
    radius = st.one_of(st.just(0.0), st.floats(0, 6))
    threshold = draw(st.floats(0.2, 6))
    return FindingsSettings(
        threshold=threshold,
        hysteresis=draw(st.one_of(st.none(), st.floats(0.1, threshold))),
        sign=draw(st.sampled_from(["bright", "dark", "both"])),
        open_mm=draw(radius),
        close_mm=draw(radius),
        grow_mm=draw(st.one_of(st.just(0.0), st.floats(-3, 5))),
        min_volume_mm3=draw(st.sampled_from([0.0, 1.0, 5.5, 30.0])),
        fill_holes=draw(st.booleans()),
        max_uncertainty=draw(st.one_of(st.none(), st.floats(0.3, 0.7))),
        hide_uncertain=draw(st.booleans()),
    )


def assert_as_the_plain_chain(engine: FindingsEngine, choice: FindingsSettings) -> None:
    expected = reference_findings(engine.maps, choice)
    findings = engine.at(choice)
    np.testing.assert_array_equal(findings.labelmap, expected.labelmap)
    assert findings.labelmap.dtype == np.int32
    assert tuple(row.sign for row in findings.table) == expected.signs
    assert findings.n_uncertain == expected.n_uncertain
    assert findings.n_hidden == (expected.n_uncertain if choice.hide_uncertain else 0)


@MANY
@given(maps(), st.lists(choices(), min_size=1, max_size=4))
def test_every_setting_on_every_map_gives_the_labelmap_of_the_plain_chain(
    case: AnomalyMaps, several: list[FindingsSettings]
) -> None:
    engine = FindingsEngine(case)
    for choice in several:
        if choice.min_volume_mm3 <= engine.brain_mm3:
            assert_as_the_plain_chain(engine, choice)


@MANY
@given(maps(), st.booleans(), st.data())
def test_the_threshold_sliders_alone_give_the_labelmap_of_the_plain_chain(
    case: AnomalyMaps, coarse: bool, data: st.DataObject
) -> None:
    if coarse:  # whole numbers: plateaus and ties everywhere
        case = replace(case, score=np.round(case.score))
    engine = FindingsEngine(case)
    for _ in range(4):
        strong, weak = sorted(data.draw(st.tuples(*[st.sampled_from([0.3, 1, 1.5, 2, 3, 4.2])] * 2)))[::-1]
        choice = FindingsSettings(
            threshold=strong,
            hysteresis=data.draw(st.sampled_from([None, weak])),
            sign=data.draw(st.sampled_from(["bright", "dark", "both"])),
            fill_holes=data.draw(st.booleans()),
            min_volume_mm3=0,
        )
        assert_as_the_plain_chain(engine, choice)


@pytest.mark.parametrize("voxels", [0, 10, 300])
def test_thresholds_below_those_looked_up_give_the_labelmap_of_the_plain_chain(
    voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AnomalyDetectLib.findings.engine.LOOKED_UP_VOXELS", voxels)
    engine = FindingsEngine(synthetic_maps("40 small lesions", (24, 30, 24)))
    for threshold in (0.4, 1.5, 2.5, 4):
        assert_as_the_plain_chain(engine, FindingsSettings(threshold=threshold, min_volume_mm3=0))


@SOME
@given(maps(), choices(), st.data())
def test_moving_one_slider_after_another_gives_the_same_as_a_fresh_start(
    case: AnomalyMaps, choice: FindingsSettings, data: st.DataObject
) -> None:
    engine = FindingsEngine(case)
    choice = choice.changed(min_volume_mm3=0)
    for _ in range(6):
        other = data.draw(choices()).changed(min_volume_mm3=0)
        name = data.draw(
            st.sampled_from(["open_mm", "close_mm", "grow_mm", "sign", "fill_holes", "max_uncertainty"])
        )
        choice = choice.changed(**{name: getattr(other, name)})
        fresh = FindingsEngine(case).at(choice)
        np.testing.assert_array_equal(engine.at(choice).labelmap, fresh.labelmap)


@MANY
@given(
    st.tuples(*[st.integers(1, 20)] * 3),
    st.tuples(*[st.sampled_from([0.11, 0.5, 1.0, 3.3])] * 3),
    st.floats(0, 7),
    st.floats(0.001, 0.999),
    st.integers(0, 2**32 - 1),
)
def test_balls_in_mm_are_those_of_the_euclidean_distance(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    radius: float,
    density: float,
    seed: int,
) -> None:
    radius = min(radius, 25 * min(spacing))
    mask = np.random.default_rng(seed).random(shape) < density
    margin = [(int(radius / size) + 2,) * 2 for size in spacing]
    inner = tuple(slice(low, -high) for low, high in margin)

    def near(where: np.ndarray) -> np.ndarray:
        if not where.any():
            return where
        return ndimage.distance_transform_edt(~where, sampling=spacing) <= radius * (1 + 1e-6)

    padded = np.pad(mask, margin)
    grown, shrunk = near(padded), ~near(~padded)
    np.testing.assert_array_equal(dilate(mask, radius, spacing), grown[inner])
    np.testing.assert_array_equal(erode(mask, radius, spacing), shrunk[inner])
    np.testing.assert_array_equal(opened(mask, radius, spacing), near(shrunk)[inner])
    np.testing.assert_array_equal(closed(mask, radius, spacing), (~near(~grown))[inner])


@pytest.mark.parametrize("case", CASES)
def test_drags_on_brain_shaped_maps_give_the_labelmap_of_the_plain_chain(case: str) -> None:
    engine = FindingsEngine(synthetic_maps(case, (36, 44, 36)))
    for drag in drags(engine.maps, 40).values():
        for choice in drag[:11:5]:
            assert_as_the_plain_chain(engine, choice)


@MANY
@given(st.tuples(*[st.integers(1, 16)] * 3), st.floats(0, 1.5), st.floats(-1, 1.5), st.integers(0, 2**32 - 1))
def test_cavities_are_those_of_scipy(
    shape: tuple[int, int, int], smoothness: float, threshold: float, seed: int
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smoothness)
    mask = np.pad(noise / (noise.std() + 1e-9) > threshold, 1)
    np.testing.assert_array_equal(filled(mask), ndimage.binary_fill_holes(mask))


@MANY
@given(st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 1.5), st.booleans(), st.integers(0, 2**32 - 1))
def test_cavities_and_components_are_those_of_scipy_at_every_threshold(
    shape: tuple[int, int, int], smoothness: float, coarse: bool, seed: int
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smoothness)
    noise = np.maximum(noise / (noise.std() + 1e-9), 0)
    score = np.pad(np.round(3 * noise) if coarse else noise, 1).astype(np.float32)
    cavities = CavityLevels.of(score, np.ones(score.shape, dtype=bool))
    tree = ComponentTree.of(score, 0.25)
    for threshold in (0.25, 0.7, 1, 2, 3):
        mask = score >= np.float32(threshold)
        labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
        voxels, numbers, found = tree.at(threshold)
        np.testing.assert_array_equal(voxels, np.flatnonzero(mask))
        pairs = np.stack([labels.reshape(-1)[voxels], numbers])
        assert found == n == len(np.unique(pairs, axis=1).T)
        assert cavities.any_at(threshold) == (ndimage.binary_fill_holes(mask) != mask).any()
        cavities.fill(mask, threshold)
        np.testing.assert_array_equal(mask, ndimage.binary_fill_holes(mask))


def test_a_winding_tunnel_from_outside_is_no_cavity() -> None:
    mask = np.ones((90, 9, 70), dtype=bool)
    for turn, i in enumerate(range(2, 88, 2)):
        mask[i, 4, 2:66] = False
        mask[i + 1, 4, 65 if turn % 2 else 2] = False
    closed_off = np.pad(mask, 1)
    assert filled(closed_off).sum() == mask.size
    mask[2, 4, :3] = False
    tunnel = np.pad(mask, 1)
    np.testing.assert_array_equal(filled(tunnel), tunnel)


def shells() -> AnomalyMaps:
    """A bright shell around a dark core around a bright speck, and a shell whose wall meets only at edges."""
    score = np.zeros((30, 30, 30), dtype=np.float32)
    i, j, k = np.ogrid[:30, :30, :30]
    distance = np.sqrt((i - 14) ** 2 + (j - 14) ** 2 + (k - 14) ** 2)
    score[(distance > 8) & (distance < 11)] = 5
    score[distance < 6] = -5
    score[distance < 2] = 7
    score[2, 2, 1:4:2] = score[2, 1:4:2, 2] = score[1:4:2, 2, 2] = 4
    return AnomalyMaps.from_score(score, brain=np.ones(score.shape, dtype=bool))


@pytest.mark.parametrize("sign", ["bright", "dark", "both"])
@pytest.mark.parametrize("fill", [True, False])
def test_nested_shells_are_filled_as_the_plain_chain_fills_them(sign: str, fill: bool) -> None:
    engine = FindingsEngine(shells())
    choice = FindingsSettings(threshold=3, sign=sign, fill_holes=fill, min_volume_mm3=0)  # type: ignore[arg-type]
    assert_as_the_plain_chain(engine, choice)


@pytest.mark.parametrize("seeds", ["shell", "island", "both", "none"])
@pytest.mark.parametrize("gap", [True, False])
def test_weak_shells_around_islands_are_kept_as_the_plain_chain_keeps_them(seeds: str, gap: bool) -> None:
    i, j, k = np.ogrid[:30, :30, :30]
    distance = np.sqrt((i - 14) ** 2 + (j - 14) ** 2 + (k - 14) ** 2)
    score = np.where((distance > 8) & (distance < 11), 3, np.where(distance < 3, 4, 0)).astype(np.float32)
    score[14, 14, 4] = 6 if seeds in ("shell", "both") else 3
    score[14, 14, 14] = 6 if seeds in ("island", "both") else 4
    brain = ~((distance > 5) & (distance < 7)) if gap else np.ones(score.shape, dtype=bool)
    engine = FindingsEngine(AnomalyMaps.from_score(np.where(brain, score, 0), brain=brain))
    for weak in (2, 3.5):
        choice = FindingsSettings(threshold=5, hysteresis=weak, min_volume_mm3=0)
        assert_as_the_plain_chain(engine, choice)


def test_filling_closes_a_cavity_and_leaves_a_tunnel_open() -> None:
    score = np.zeros((12, 12, 12), dtype=np.float32)
    score[2:9, 2:9, 2:9] = 5
    score[5, 5, 5] = 0
    score[3, 3, :] = 0
    engine = FindingsEngine(AnomalyMaps.from_score(score, brain=np.ones(score.shape, dtype=bool)))
    labelmap = engine.at(FindingsSettings(threshold=3)).labelmap
    assert labelmap[5, 5, 5] == 1
    assert not labelmap[3, 3].any()


def test_bright_and_dark_never_merge_even_where_both_grow() -> None:
    score = np.zeros((20, 20, 20), dtype=np.float32)
    score[5:10, 5:15, 5:15], score[10:15, 5:15, 5:15] = 4, -4
    engine = FindingsEngine(AnomalyMaps.from_score(score, brain=np.ones(score.shape, dtype=bool)))
    findings = engine.at(FindingsSettings(threshold=3, grow_mm=3))
    assert sorted(row.sign for row in findings.table) == ["bright", "dark"]
    assert findings.labelmap[9, 10, 10] != findings.labelmap[10, 10, 10]
    assert (findings.labelmap[2:18, 10, 10] > 0).all()


def test_findings_never_leave_the_brain() -> None:
    random = np.random.default_rng(4)
    brain = ndimage.gaussian_filter(random.standard_normal((24, 24, 24)), 3) > 0
    score = 3 * random.standard_normal(brain.shape).astype(np.float32)
    engine = FindingsEngine(AnomalyMaps.from_score(score, brain=brain))
    findings = engine.at(FindingsSettings(threshold=4, close_mm=3, grow_mm=4, min_volume_mm3=0))
    assert len(findings)
    assert not findings.labelmap[~brain].any()


def test_a_labelmap_in_hand_does_not_change_when_sliders_move(case, plain) -> None:
    engine = case({(10, 10, 10): (4, 5.0), (28, 28, 28): (6, 4.0)})
    before = engine.at(plain)
    copy = before.labelmap.copy()
    for threshold in (3.5, 4.5, 6):
        _ = engine.at(plain.changed(threshold=threshold, open_mm=2)).labelmap
    np.testing.assert_array_equal(before.labelmap, copy)
    with pytest.raises(ValueError, match="read-only"):
        before.labelmap[0, 0, 0] = 1
