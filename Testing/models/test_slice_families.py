"""Every family of the zoo, as its configuration makes it: it learns, and says what it should of a lesion."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save, save_file

from AnomalyDetectLib.errors import ModelError
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.models.card import read_card, write_card
from AnomalyDetectLib.models.slices import (
    FAMILIES,
    SliceFamily,
    SliceModel,
    examine_scan,
    family_class,
    make_family,
    slices_of,
    to_slices,
    to_volume,
)
from AnomalyDetectLib.models.style_inversion import StyleInversion
from AnomalyDetectLib.models.windows import windows
from AnomalyDetectLib.prepare.prepared import Observations, Prepared, ScanFit, WayBack
from AnomalyDetectLib.training.config import TrainingConfig, read_config
from AnomalyDetectLib.training.ship_slices import zoo_card
from AnomalyDetectLib.training.slice_corruption import CORRUPTIONS
from AnomalyDetectLib.training.slice_data import SliceScan
from AnomalyDetectLib.training.slices import SliceTask
from AnomalyDetectLib.volume import Grid

FOLDER = Path(__file__).parents[2] / "configs"
ZOO = sorted((FOLDER / "zoo").glob("*.toml"))
CONFIGS = {path.stem: path for path in ZOO if read_config(path).task == "slices"}
CT_CONFIGS = sorted((FOLDER / "zoo_ct").glob("*.toml"))
SEGMENTERS = [n for n, p in CONFIGS.items() if read_config(p).options["family"] == "anomaly-segmenter"]
SIZE, SHAPE = 32, (24, 28, 4)
SMALL = {"size": SIZE, "features": (8, 16), "latent": 16, "widest": 16}
# Steps and learning rate where others than the usual few are needed: adversaries swing at a high rate.
SHORTLY = {"cutpaste": (75, 5e-3), "f-anogan": (20, 1e-3), "stylegan2-inversion": (20, 1e-3)}


def brain_and_image(folding: float = 9.0) -> tuple[np.ndarray, np.ndarray]:
    """A round brain with a dark middle and some texture, (X,Y,Z)."""
    rng = np.random.default_rng(0)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.hypot(x, y)
    folds = 0.2 * np.sin(folding * x) * np.cos(7 * y)
    image = np.where(radius < 0.35, 0.4, 0.9 + folds) + rng.normal(0, 0.02, SHAPE)
    brain = radius < 0.85
    return brain, (image * brain).astype(np.float32)


def prepared(lesion: float = 0.0) -> Prepared:
    """The brain as a prepared scan; `lesion` is added in a disc at one side of the second slice."""
    brain, image = brain_and_image()
    image[4:8, 12:16, 1] += np.float32(lesion)
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    return Prepared(
        tensor=torch.from_numpy(image)[None, None],
        brain=brain,
        input_brain=brain,
        to_input=WayBack(grid, grid, np.eye(4)),
        modality="T1",
        fit=ScanFit(),
        scale=1.0,
        bias=np.ones_like(image),
        observations=Observations(1.0, 2.0, 0.0, 0.0, "T1"),
        alignment_overlap=1.0,
        stripped=False,
    )


def four_slices() -> list[SliceScan]:
    """Two slices of each of two brains."""
    scans = []
    for folding, usable in ((9.0, (0, 1)), (3.0, (1, 2))):
        brain, image = brain_and_image(folding)
        scans.append(
            SliceScan("round", torch.from_numpy(image).half(), torch.from_numpy(brain), usable, 40.0, 1.0)
        )
    return scans


def family_of(config: TrainingConfig) -> SliceFamily:
    """The configuration's family, small."""
    own = {
        k: v for k, v in config.options.items() if k not in ("family", "contrast", "corruption", "encoder")
    }
    torch.manual_seed(0)
    taken = inspect.signature(family_class(config.options["family"])).parameters
    return make_family(config.options["family"], **own, **{k: v for k, v in SMALL.items() if k in taken})


@functools.cache
def trained(name: str) -> tuple[SliceTask, float, float]:
    """A family's task after a few steps on four slices, and its loss on them before and after."""
    config = read_config(CONFIGS[name])
    scans = four_slices()
    corrupt = CORRUPTIONS[config.options.get("corruption", "nothing")]
    task = SliceTask(family_of(config), corrupt, scans, scans)
    task.held_out = task.held_out[:1]
    task.network.eval()
    before = after = 0.0
    if config.loop.steps:
        before = task.validate()["loss"]
        train_shortly(task, *SHORTLY.get(name, (25, 5e-3)))
        after = task.validate()["loss"]
    task.fit()
    return task, before, after


def train_shortly(task: SliceTask, steps: int, learning_rate: float) -> None:
    """A few steps on the four slices, without the loop's average, which needs more."""
    weights = [p for p in task.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate)
    task.network.train()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        task.loss(task.batch(np.random.default_rng(step), 4, step / steps))[0].backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    task.network.eval()


@pytest.mark.parametrize("name", [n for n, path in CONFIGS.items() if read_config(path).loop.steps])
def test_a_family_learns_four_slices(name: str) -> None:
    _, before, after = trained(name)
    assert after < before


@pytest.mark.parametrize("name", CONFIGS)
def test_a_familys_weights_are_saved_and_loaded_without_a_loss(name: str) -> None:
    network = family_of(read_config(CONFIGS[name]))
    weights = network.state_dict()
    loaded = load(save({key: value.contiguous() for key, value in weights.items()}))
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_rebuilds_a_scan_on_its_grid_and_the_same_twice(name: str) -> None:
    task, *_ = trained(name)
    one, two = (examine_scan(task.network, prepared(0.5)) for _ in range(2))
    assert one.healthy is not None or one.anomaly is not None
    outside = ~prepared().brain
    for field in ("healthy", "anomaly", "variance"):
        values = getattr(one, field)
        if values is None:
            continue
        assert values.shape == SHAPE
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert (values[outside] == 0).all()
        assert np.array_equal(values, getattr(two, field))
    assert one.variance is not None
    assert one.variance.min() >= 0
    assert one.variance.max() > 0
    if one.anomaly is not None:
        assert 0 <= one.anomaly.min() <= one.anomaly.max() <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_familys_maps_lead_back_to_the_voxels_of_the_slice_unless_it_draws_samples(name: str) -> None:
    task, *_ = trained(name)
    scan, needed = prepared(0.5), np.zeros(SHAPE, bool)
    needed[4:8, 12:16, 1] = True
    if task.network.views == 1:
        with pytest.raises(ModelError, match="no gradient"):
            model_of(task.network).differentiable(scan, needed)
        return
    model = model_of(task.network).differentiable(scan, needed)
    image = scan.tensor.clone().requires_grad_()
    found = model.rebuild(image)
    maps = [one for one in (found.healthy, found.log_odds) if one is not None]
    assert maps
    seen = [model.layer.register_forward_hook(lambda *hooked: grids.append(hooked[2]))] if model.layer else []
    grids: list[torch.Tensor] = []
    sum((one * torch.from_numpy(needed)).sum() for one in model.rebuild(image) if one is not None).backward()
    assert image.grad is not None
    assert (image.grad[0, 0, :, :, 1] != 0).any()
    assert (image.grad[0, 0, :, :, [0, 2, 3]] == 0).all(), "slices don't look at each other"
    for hook in seen:
        hook.remove()
        assert model.on_grid(grids[-1].sum(1, keepdim=True)).shape == SHAPE


def model_of(family: SliceFamily) -> SliceModel:
    """A family as a model on the road, without a folder."""
    model = SliceModel.__new__(SliceModel)
    model.card, model.family = SimpleNamespace(name="small"), family  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in SEGMENTERS])
def test_a_family_finds_a_bright_square_more_unusual_than_the_brain_around_it(name: str) -> None:
    task, *_ = trained(name)
    scan = prepared(1.0)
    found = examine_scan(task.network, scan)
    lesion = np.zeros(SHAPE, bool)
    lesion[4:8, 12:16, 1] = True
    rest = scan.brain & ~lesion
    if found.healthy is not None:
        residual = scan.tensor[0, 0].numpy() - found.healthy
        assert residual[lesion].mean() > residual[rest].mean()
    if found.anomaly is not None:
        assert found.anomaly[lesion].mean() > found.anomaly[rest].mean()


def test_a_segmenter_finds_what_was_pasted() -> None:
    task, *_ = trained("cutpaste")
    batch = task.held_out[0]
    with torch.no_grad():
        probability = task.network.examine(batch).anomaly
    inside, rest = batch["weight"] > 0.3, (batch["weight"] == 0) & (batch["brain"] > 0)
    assert probability[inside].mean() > probability[rest].mean()


def test_slices_come_back_where_they_were() -> None:
    volume = torch.rand(SHAPE)
    slices = to_slices(volume, SIZE)
    assert slices.shape == (4, 1, SIZE, SIZE)
    assert torch.equal(to_volume(slices, *SHAPE[:2]), volume)


def test_slices_carry_age_and_height() -> None:
    old = prepared()
    old = replace(old, observations=replace(old.observations, age=70.0))
    condition = slices_of(old, SIZE)["condition"]
    assert condition[:, 0].tolist() == [2.0] * 4
    assert condition[:, 2].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


ONE_OF_EACH = {read_config(path).options["family"]: name for name, path in CONFIGS.items()}


def test_every_family_has_a_configuration_that_these_tests_run() -> None:
    assert set(ONE_OF_EACH) == set(FAMILIES)


def test_style_inversion_scores_every_patch_by_error_and_by_grey_values() -> None:
    family = StyleInversion(SIZE, latent=16, widest=16)
    healthy = torch.rand(2, 1, SIZE, SIZE)
    ill = healthy.clone()
    ill[:, :, 8:16, 8:16] += 1
    for scores in family.patch_scores(ill, healthy).values():
        assert scores.shape == (2, 7, 7)
        assert scores[0].argmax() == 2 * 7 + 2, "the third patch of each side starts at pixel 8"
        assert scores[0, 5, 5] == 0


@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_a_family_comes_out_of_its_model_folder_as_it_went_in(name: str, tmp_path: Path) -> None:
    task, *_ = trained(name)
    config = read_config(CONFIGS[name])
    taken = inspect.signature(type(task.network)).parameters
    small = {k: v for k, v in SMALL.items() if k in taken}
    config = replace(config, options=config.options | small)
    save_file({k: v.half() for k, v in task.network.state_dict().items()}, tmp_path / "weights.safetensors")
    write_card(zoo_card(config, tmp_path, {"parameters": 1}))
    loaded = zoo.load(read_card(tmp_path)).rebuild(prepared(0.5))
    own = examine_scan(task.network, prepared(0.5))
    for field in ("healthy", "anomaly"):
        one, two = getattr(loaded, field), getattr(own, field)
        assert (one is None) == (two is None)
        if one is not None:
            assert np.abs(one - two).max() < 0.1


@pytest.mark.parametrize("path", CT_CONFIGS, ids=lambda path: path.stem)
def test_a_ct_family_sees_three_windows_of_the_slice_and_rebuilds_the_slice_itself(path: Path) -> None:
    family = family_of(read_config(path))
    widths = [layer.in_channels for layer in family.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths[0] == 3
    task = SliceTask(family, CORRUPTIONS["nothing"], four_slices(), four_slices())
    task.fit()
    found = examine_scan(family.eval(), prepared(0.5))
    assert all(one is None or one.shape == SHAPE for one in (found.healthy, found.anomaly))


def test_the_three_windows_are_the_slice_its_healthy_range_stretched_and_what_lies_above() -> None:
    image = torch.tensor([0.0, 0.6, 0.9, 1.2, 1.5, 2.0]).view(1, 1, 1, 6)
    seen = windows(image)[0, :, 0]
    assert torch.equal(seen[0], image.flatten())
    assert seen[1].tolist() == pytest.approx([0, 0, 1, 2, 2, 2], abs=1e-6)
    assert seen[2].tolist() == pytest.approx([0, 0, 0, 0.4, 1, 2], abs=1e-6)
