"""Which published figure each row of the zoo's table answers to, and why it differs.

Only figures that could be looked up stand here. Meissen, Kaissis and Rueckert: "Challenging current
semi-supervised anomaly segmentation methods for brain MRI" (BrainLes 2021), tables 1 and 2, which list
others' methods beside their own threshold. CQ500: "A comparative study of deep learning-based anomaly
detection for intracranial hemorrhage in brain CT" (OpenReview klQEJ2aoTn).
"""

from __future__ import annotations

from AnomalyDetectLib.training.cards import RIVALS

NONE = "no published figure on brain MR known to us"
UNCHECKED = "no figure of it that we could check"

MEISSEN = "Meissen et al. 2021, FLAIR, multiple sclerosis (MSLUB; MSSEG2015)"
THRESHOLD = f"{MEISSEN}: best Dice .374; .431, and glioma (BraTS) .738, by a threshold on FLAIR alone"
DIFFUSION_T1 = "best voxel AP in print on T1 glioma .535, for any family"
RESTORATION = (
    "Naval Marimont et al. 2024 (DISYRE), T2 glioma (BraTS): voxel AP .75; .81 is quoted for a later "
    "version, which we could not check"
)

# By model, without the ending for its contrast.
INTENSITY = ("intensity", "intensity-plain", "intensity-2mm", "intensity-4mm", "intensity-equalised")
FIGURES = {
    **dict.fromkeys(INTENSITY, THRESHOLD),
    "ae-l2": f"{MEISSEN}: dense auto-encoder, best Dice .271; .185, AP .163; .080",
    "f-anogan": f"{MEISSEN}: best Dice .283; .342, AP .221; .255",
    "vae-restoration": f"{MEISSEN}: best Dice .333; .272, AP .275; .202. Chen et al. 2020: AUROC .13 above "
    "other unsupervised methods on glioma and stroke",
    "cevae": "Zimmerer et al. 2018: AUROC .95 on BraTS-2017, .89 on ISLES-2015",
    "constrained-ae": f"Chen and Konukoglu 2018 report a better AUROC on BraTS than without; {UNCHECKED}",
    "dae": f"Kascenas et al. 2022 report it above variational auto-encoders on glioma; {UNCHECKED}",
    "ddpm-simplex": "Wyatt et al. 2022, T1 tumours, 22 scans: Dice 25.5 % above Gaussian noise and f-AnoGAN; "
    f"{DIFFUSION_T1}",
    "ddpm-gaussian": f"the rival of Wyatt et al. 2022, T1 tumours, 22 scans; {DIFFUSION_T1}",
    "ddpm-patched": "Behrendt et al. 2023: 25.1 % (relative) above their rivals on glioma and sclerosis",
    "restore-t1": RESTORATION,
    "restore-any": RESTORATION,
    "fpi": f"Tan et al. 2020: high in the MOOD challenge of that year; {UNCHECKED}",
    "fpi-poisson": f"Tan et al. 2021 measure chest X-ray and ultrasound of the fetal heart; {NONE}",
}
REBUILDING_CT, PASTING_CT = (
    "a comparison of 11 methods on CQ500: up to slice AUROC .908 by rebuilding",
    "a comparison of 11 methods on CQ500: at most AUROC .647 by self-supervision",
)
PASTED = ("nsa", "nsa-intensity", "fpi", "fpi-poisson", "cutpaste", "cutpaste-2stage", "anatpaste")
UNCERTAIN_CT = "a comparison of 11 methods on CQ500: slice AUROC .908, AP .937, the best of them"
FEATURES = ("mae-contrastive", "padim", "patchcore")

# The best in print for each contrast, whatever the method.
BEST = {
    "T1": "T1 glioma: voxel AP .535.",
    "FLAIR": "glioma: best Dice .76 (.738 by a threshold alone); multiple sclerosis: .465 by transformers "
    "and 15,000 training scans (.37 and .43 by a threshold alone).",
    "CT": "haemorrhage: slice AUROC .908, AP .937; scan AUROC .88.",
}
WHY = {
    "T1": "here T1, lesions simulated in held-out healthy heads, 2 mm, few scans, a short training",
    "FLAIR": "here trained on lesion-free slices of 33 glioma patients, 2 mm, short",
    "CT": "here trained on 19 patients, from three windows emulated from one of 8 bits, short",
}
UNTRAINED_WHY = {
    "T1": "here T1, lesions simulated in held-out healthy heads, bright and dark ones, 2 mm",
    "FLAIR": "here all brain voxels at 2 mm, and figures are means over patients",
    "CT": "here CT",
}


def answer(row: str, contrast: str) -> str:
    """One sentence for a row of the table of a contrast: the figure in print, then why the row differs."""
    model, _, part = row.partition(", ")
    base = model.removesuffix(f"-{contrast.lower()}")
    if part:
        return f"{NONE} of this score alone; see {model}."
    why = UNTRAINED_WHY if base in RIVALS else WHY
    return f"{_figure(base, contrast)}; {why[contrast]}."


def _figure(base: str, contrast: str) -> str:
    if contrast == "CT" and base not in (*RIVALS, *FEATURES):
        if base == "ae-u":
            return UNCERTAIN_CT
        return PASTING_CT if base in PASTED else REBUILDING_CT
    none = NONE if contrast != "CT" else "no published figure on brain CT known to us"
    return FIGURES.get(base, none)
