"""What stands on the cards of the shipped models: data, licence, credit and intended use."""

from __future__ import annotations

from pathlib import Path

from AnomalyDetectLib.models.card import ModelCard
from AnomalyDetectLib.models.choice import RIVAL

IXI_CREDIT = (
    "T1 images from the IXI dataset, brain-development.org (EPSRC GR/S21533/02), CC BY-SA 3.0. Label maps: "
    "DLMUSE / NiChart, CBICA and AIBIL, University of Pennsylvania. Obtained under the SBIA Contribution and "
    "Software License Agreement from the Section of Biomedical Image Analysis, University of Pennsylvania."
)
SYNTHSEG_CREDIT = (
    "Label maps from SynthSeg: Billot B. et al., SynthSeg: Segmentation of brain MRI scans of any contrast "
    "and resolution without retraining, Medical Image Analysis 2023. Apache-2.0."
)
EXTERNAL_CREDIT = (
    "Calibration also on OpenfMRI ds000011 (PDDL 1.0): Foerde K., Knowlton B.J., Poldrack R.A., PNAS "
    "2006;103(31):11778-83; OpenfMRI project, NSF Grant OCI-1131441 (R. Poldrack, PI)."
)
CT_CREDIT = (
    "CT: Hssayeni M.D. et al., Intracranial Hemorrhage Segmentation Using a Deep Convolutional Model, Data "
    "2020;5(1):14; PhysioNet."
)
LICENCE = "CC BY-SA 3.0, research and non-commercial use (IXI images; DLMUSE label maps)"
USE = (
    "Research: showing voxels of an adult brain scan that differ from healthy brains, as a help for looking. "
    "Not a medical device; not for diagnosis, screening or treatment decisions."
)
AGES = (20.0, 82.0)
IXI_T1 = (
    "161 of the 164 IXI T1 training scans (healthy volunteers of 20-82 years, one 3T scanner, 2 mm; three "
    "whose labels confuse the sides are left out); 20 further subjects are held out for validation; split by "
    "subject."
)
EVERY = ("T1", "T2", "FLAIR", "PD", "CT")
CALIBRATED = "None; calibrated on the same healthy scans as the others."

_CARDS: dict[str, dict[str, object]] = {
    "brain-extraction": {
        "family": "head-network",
        "contrasts": ("T1", "T2", "FLAIR", "PD"),
        "summary": "Brain mask, tissue and template coordinates of a head of any contrast, 3-D at 2 mm.",
        "credit": f"{IXI_CREDIT} {SYNTHSEG_CREDIT}",
        "training": f"{IXI_T1} In random contrasts, with 16 of the 20 SynthSeg whole-head label maps painted "
        "in random contrasts; 4 maps are held out. Mask: DLMUSE > 0, slightly closed, holes filled.",
    },
    "restore-any": {
        "family": "anatomy",
        "contrasts": ("T1", "T2", "FLAIR", "PD"),
        "summary": "Names the healthy tissue under what looks abnormal, paints it in the scan's own colours, "
        "and takes lesions out; for scans of any contrast.",
        "credit": f"{IXI_CREDIT} {SYNTHSEG_CREDIT} {EXTERNAL_CREDIT}",
        "training": f"{IXI_T1} Other contrasts are the same scans repainted, and 16 of the 20 SynthSeg label "
        "maps painted at random (4 are held out): no real T2, FLAIR or PD scan was used, and no scan with "
        "pathology. Lesions are synthetic throughout. For T2, FLAIR and PD the false alarms are counted on "
        "repainted held-out scans and on heads painted from the 16 maps: take their number for a guide. "
        "Begun with restore-t1's weights (7,200 steps), 2,062 steps of restore_any_first.toml, 2,800 of "
        "restore_any_second.toml, then widened and trained for 2,400 of restore_any_third.toml and, with "
        "Muon, for 4,600 of restore_any_fourth.toml, 2,000 of restore_any_fifth.toml, 3,600 of "
        "restore_any_sixth.toml and 3,000 of restore_any_seventh.toml, which tell it the other side of the "
        "brain: hours on two CPU cores; at last, on a GPU in batches of eight, for 2,183 of "
        "restore_any_eighth.toml and 1,442 of restore_any.toml. Slimmed against published models: 2 mm, "
        "32-48-96-160 channels.",
    },
    "restore-t1": {
        "family": "restoration",
        "contrasts": ("T1",),
        "summary": "Takes synthetic lesions of any severity out of a T1 scan; what it changes is unusual.",
        "credit": f"{IXI_CREDIT} {EXTERNAL_CREDIT}",
        "training": f"{IXI_T1} Lesions are synthetic throughout; no scan with pathology was used. Slimmed "
        "against published restoration models: 2 mm, 16-48-96-160 channels, one pass for all severities.",
    },
    "atlas-z": {
        "family": "atlas-z",
        "contrasts": ("T1",),
        "summary": "Rival without a network: difference from the mean of healthy brains over their SD.",
        "credit": f"{IXI_CREDIT} {EXTERNAL_CREDIT}",
        "training": "Mean and SD of 60 IXI T1 training scans, both sides pooled.",
    },
    "intensity": {
        "family": "intensity",
        "contrasts": EVERY,
        "summary": "Rival without a network: difference from the median of the brain, place by place.",
        "credit": f"{IXI_CREDIT} {EXTERNAL_CREDIT} {CT_CREDIT}",
        "training": CALIBRATED,
    },
}
# Name: the map of models/rivals.py, and what it is.
_MAPS = {
    "intensity-plain": ("intensity", "brightness alone"),
    "intensity-2mm": ("intensity, 2 mm", "brightness, smoothed by 2 mm"),
    "intensity-4mm": ("intensity, 4 mm", "brightness, smoothed by 4 mm"),
    "intensity-equalised": ("intensity, equalised", "brightness by its rank within the brain"),
    "mirror": ("mirror", "difference between the sides"),
    "intensity-mirror": ("intensity + mirror", "brightness and difference between the sides"),
}
_CARDS |= {
    name: {
        "family": RIVAL,
        "contrasts": EVERY,
        "summary": f"Rival without a network: {what}.",
        "credit": f"{IXI_CREDIT} {EXTERNAL_CREDIT} {CT_CREDIT}",
        "training": CALIBRATED,
        "options": {"map": one},
    }
    for name, (one, what) in _MAPS.items()
}
_CARDS["atlas-mirror"] = {
    "family": RIVAL,
    "contrasts": ("T1",),
    "summary": "Rival without a network: difference from the mean of healthy brains, and between the sides.",
    "credit": f"{IXI_CREDIT} {EXTERNAL_CREDIT}",
    "training": "None; the mean brain of atlas-z, and calibration on the same healthy scans as the others.",
    "options": {"map": "atlas difference + mirror"},
}
RIVALS = ("atlas-z", "intensity", *_MAPS, "atlas-mirror")  # the atlas first, which the last one looks at


def card(name: str, folder: Path) -> ModelCard:
    """The card of a shipped model before it is measured, to be written into `folder`."""
    return ModelCard(
        name=name,
        version="1.0",
        licence=LICENCE,
        intended_use=USE,
        age_range=AGES,
        folder=folder,
        **_CARDS[name],  # type: ignore[arg-type]
    )
