"""The healthy anatomy in a scan's own colours, whatever its contrast."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AnomalyDetectLib.models import own_colours
from AnomalyDetectLib.models.anatomy import (
    TISSUES,
    AnatomyNetwork,
    asymmetry_of,
    levels,
    memberships,
    to_input,
)
from AnomalyDetectLib.models.restoration import passes
from AnomalyDetectLib.prepare.template import load_template

CONTRASTS = {"T1": (-2.0, 0.0, 1.0), "T2": (3.0, 0.5, -0.5), "FLAIR": (-3.0, 0.4, 0.0)}  # fluid, grey, white


@pytest.fixture(scope="module")
def tissue() -> torch.Tensor:
    """Shares of fluid, grey and white matter (3,X,Y,Z) of the average brain."""
    shares = torch.from_numpy(load_template().tissue)
    return shares / shares.sum(0).clamp(min=1e-3)


@pytest.fixture(scope="module")
def brain() -> torch.Tensor:
    return torch.from_numpy(load_template().brain)


def colour(tissue: torch.Tensor, brain: torch.Tensor, contrast: str, noise: float = 0.1) -> torch.Tensor:
    """A scan in input units of the average brain."""
    shades = torch.tensor(CONTRASTS[contrast]).view(3, 1, 1, 1)
    grain = torch.randn(brain.shape, generator=torch.Generator().manual_seed(3)) * noise
    return torch.where(brain, (tissue * shades).sum(0) + grain, 0)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_lesion_stands_out_of_the_scans_own_tissue_and_nothing_else_does(
    contrast: str, tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    scan = colour(tissue, brain, contrast)
    lesion = torch.zeros_like(brain)
    lesion[22:28, 50:56, 45:51] = True
    scan = torch.where(lesion & brain, scan + 2.5, scan)
    painted = own_colours.paint(scan, tissue, torch.zeros_like(scan), brain)
    z = (scan - painted.expected) / painted.sd
    assert z[lesion & brain].mean() > 2.5
    assert z[brain & ~lesion].abs().quantile(0.99) < 2.5 if brain.sum() < 2**24 else True


def test_a_large_lesion_that_the_network_overlooks_does_not_colour_its_tissue(
    tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    scan, lesion = colour(tissue, brain, "FLAIR"), torch.zeros_like(brain)
    lesion[16:34, 42:64, 36:54] = True
    lesion &= brain
    ill = torch.where(lesion, scan + 2, scan)
    painted = own_colours.paint(ill, tissue, torch.zeros_like(ill), brain)
    assert (ill - painted.expected)[lesion].median() > 1.4


def test_colours_follow_most_of_the_coils_shading(tissue: torch.Tensor, brain: torch.Tensor) -> None:
    shading = torch.linspace(-1, 1, brain.shape[1]).view(1, -1, 1)
    scan = torch.where(brain, colour(tissue, brain, "T1") + shading, 0)
    painted = own_colours.paint(scan, tissue, torch.zeros_like(scan), brain)
    white = (tissue[2] > 0.9) & brain
    front, back = white.clone(), white.clone()
    front[:, :60], back[:, 36:] = False, False
    difference = painted.expected[front].mean() - painted.expected[back].mean()
    truth = scan[front].mean() - scan[back].mean()
    assert 0.65 * truth < difference < 1.1 * truth  # the rest is drawn towards the whole brain's colour


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_shares_of_a_tissue_that_is_nowhere_pure_give_its_colour(
    contrast: str, tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    unsure = 0.7 * tissue + 0.1  # a network's probabilities: never none, never all
    scan = colour(unsure, brain, contrast)
    painted = own_colours.paint(scan, unsure, torch.zeros_like(scan), brain)
    assert (scan - painted.expected)[brain].abs().mean() < 0.1  # the grain's
    found = painted.colours[:, brain].median(1).values
    assert torch.allclose(found, torch.tensor(CONTRASTS[contrast]), atol=0.35)


def test_a_surely_abnormal_region_does_not_colour_its_tissue(
    tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    scan = colour(tissue, brain, "FLAIR")
    half = torch.zeros_like(scan)
    half[:40] = 1
    bright = torch.where(half.bool() & brain, scan + 3, scan)
    trusting = own_colours.paint(bright, tissue, torch.zeros_like(scan), brain).expected
    warned = own_colours.paint(bright, tissue, half, brain).expected
    inside = half.bool() & brain
    inside[30:] = False
    assert (warned - scan)[inside].abs().mean() < 0.5 * (trusting - scan)[inside].abs().mean()


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_network_is_told_which_tissue_has_which_intensity(
    contrast: str, tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    scan = colour(tissue, brain, contrast)
    prior = 2 * torch.from_numpy(load_template().tissue) - 1
    near = memberships(scan[None, None], prior)[0]
    white = (tissue[2] > 0.95) & brain
    assert near[2][white].mean() > 0.8
    assert near[0][white].mean() < 0.5
    assert float(near[:, ~brain].max()) == 0


def test_all_contrasts_reach_the_network_in_the_same_units(tissue: torch.Tensor, brain: torch.Tensor) -> None:
    scan = colour(tissue, brain, "T2")
    for gain in (1.0, 700.0):
        middle, unit = levels(scan * gain, brain)
        values = to_input(scan * gain, brain, middle, unit)[brain]
        assert float(values.quantile(0.9) - values.quantile(0.1)) == pytest.approx(3.0, rel=0.05)


def test_the_network_restores_and_names_every_voxel() -> None:
    network = AnatomyNetwork().eval()
    shape = load_template().brain.shape
    with torch.inference_mode():
        out = network.restore(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
    assert out.healthy.shape == out.logit.shape == (1, 1, *shape)
    assert out.tissue.shape == (1, len(TISSUES), *shape)
    assert np.isfinite(out.log_variance.numpy()).all()


def test_the_network_is_told_how_far_a_lesion_is_from_the_other_side(
    tissue: torch.Tensor, brain: torch.Tensor
) -> None:
    scan = colour(tissue, brain, "T1", noise=0)
    lesion = torch.zeros_like(brain)
    lesion[22:28, 50:56, 45:51] = True
    image = torch.where(lesion & brain, scan + 2.5, scan)[None, None]
    told = asymmetry_of(image)
    even = asymmetry_of(scan[None, None])
    assert (told - even)[0, 0][lesion & brain].mean() == pytest.approx(2.5)
    assert torch.equal(told, -told.flip(2)), "the other side is as much darker"
    assert float(told[0, 0][~brain].abs().max()) == 0


def test_every_pass_sees_the_asymmetry_of_what_it_sees(tissue: torch.Tensor, brain: torch.Tensor) -> None:
    image = colour(tissue, brain, "T1")[None, None]

    def differ(told: torch.Tensor) -> torch.Tensor:
        return (told[:, 1:] - asymmetry_of(told[:, :1])).abs()

    as_it_is, mirrored = passes(differ, torch.cat([image, asymmetry_of(image)], 1))[:2]
    assert float(as_it_is.max()) == float(mirrored.max()) == 0
