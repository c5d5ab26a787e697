"""Real FLAIR, T1 and post-contrast T1 for the anatomy model: what is healthy in scans of glioma patients."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy import ndimage

from AnomalyDetectLib.errors import PreparationError
from AnomalyDetectLib.models.anatomy import AnatomyNetwork, asymmetry_of, levels, to_input
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.prepared import Prepared
from AnomalyDetectLib.training.labels import TISSUE_NAMES
from AnomalyDetectLib.training.restoration import HealthyScan
from AnomalyDetectLib.training.slice_data import glioma_patients, prepared_glioma
from AnomalyDetectLib.volume import BoolArray

log = logging.getLogger(__name__)

PATIENTS = 27  # of 55: half of them; the others stay for validation
SEQUENCES = {"flair": "FLAIR", "t1": "T1", "t1c": "T1"}
ILL = len(TISSUE_NAMES)  # stands in the place of a tissue class where nothing is learnt
MARGIN = 5  # voxels of 2 mm around the drawn lesion: infiltration and pressure reach beyond it


def load_patient_scans(data: Path, cache: Path, weights: Path) -> dict[str, list[HealthyScan]]:
    """Scans of half of the glioma patients by sequence, the lesion and its surroundings marked `ILL`.

    weights: an anatomy network's, which names the tissue of the rest, since no label maps exist. A scan that
    can't be prepared is left out, with a line in the log.
    """
    network = AnatomyNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    network.eval()
    found: dict[str, list[HealthyScan]] = {sequence: [] for sequence in SEQUENCES}
    head = load_head_network()
    for folder in glioma_patients(data, "train")[:PATIENTS]:
        for sequence, contrast in SEQUENCES.items():
            scan = folder / f"{sequence}.nii.gz"
            if not scan.exists():
                continue
            try:
                prepared, lesion = prepared_glioma(scan, contrast, head, cache)
            except PreparationError as error:
                log.warning("%s is left out: %s", folder.name, error)
                continue
            found[sequence].append(_healthy_part(folder.name, prepared, lesion, network))
    return found


def _healthy_part(name: str, prepared: Prepared, lesion: BoolArray, network: AnatomyNetwork) -> HealthyScan:
    near = torch.from_numpy(ndimage.binary_dilation(lesion, iterations=MARGIN))
    image, brain = prepared.tensor[0, 0], torch.from_numpy(prepared.brain)
    with torch.inference_mode():
        scan = to_input(image, brain, *levels(image, brain))[None, None]
        seen = network.restore(scan, asymmetry_of(scan))
    classes = torch.where(near, ILL, seen.tissue[0].argmax(0) + 1)
    return HealthyScan(name, image.half(), torch.where(brain, classes, 0).to(torch.uint8), brain)
