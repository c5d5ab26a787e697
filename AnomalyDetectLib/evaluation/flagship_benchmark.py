"""benchmark flagship: real and simulated lesions and healthy scans, every model and every trivial rival on
the same voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.evaluation import flagship_tables as tables
from AnomalyDetectLib.evaluation.contact_sheet import Picture, picture, write_sheet
from AnomalyDetectLib.evaluation.contest import ALARMS, Contest, open_contest
from AnomalyDetectLib.evaluation.flagship_tables import Section
from AnomalyDetectLib.evaluation.healthy_contest import (
    HealthyScan,
    healthy_figures,
    measure_healthy,
    voxel_threshold,
)
from AnomalyDetectLib.evaluation.lesion_contest import LesionSet, Measured, Row, lesion_sets, measure
from AnomalyDetectLib.evaluation.painted_heads import painted_alarms
from AnomalyDetectLib.evaluation.region_alarms import region_figures
from AnomalyDetectLib.models import zoo
from AnomalyDetectLib.pipeline import load_head_network
from AnomalyDetectLib.prepare.head_network import HeadNetwork
from AnomalyDetectLib.training.calibration import HealthyCase, evenly, healthy_heads, prepared_cases

CONTRASTS = ("T1", "FLAIR")
SETS = ("val", "external")
SIGNED = {1: "z, bright alone", -1: "-z, dark alone", 0: "|z|"}
PICTURES = 10
LESIONS = (
    "Means with 95 % bootstrap over patients. AP and Dice: of {what}. Dice at 1 % healthy: at the z that "
    "1 % of the voxels of {healthy} reach. "
    "Sensitivity and false alarms (findings that touch no lesion): at {alarms:g} expected false alarm per "
    "healthy brain, models with findings of both signs on the scans of their calibration, rivals with {what} "
    "on {counted} healthy scans; a lesion is found when findings cover a tenth of it. Oracle Dice: threshold "
    "chosen for each patient from its own truth. "
    f"'{tables.AT_EQUAL}': at the lowest of some thresholds where each map's findings that touch no lesion "
    "are that few in these patients."
)
HEALTHY = (
    "{scans}; means with 95 % bootstrap over scans. False alarms: findings of both signs at the threshold of "
    "{alarms:g} expected; it was counted on these very scans, all sets together (with --limit the rivals' on "
    "few of them). Share of voxels: |z| above what 1 % of all voxels of the other scanner's healthy scans "
    "reach; 0.5-2 % is wanted."
)
REGIONS = (
    "ml of false alarms per healthy scan, means of {count} scans; regions overlap. Thresholds of each map: "
    "that which 1 % of the voxels of these scans together reach, so that the whole brain has the same volume "
    "before and after; and that which half of the voxels of clear simulated lesions in these scans reach, so "
    "that as much of lesions is seen before and after."
)

PAINTED = (
    f"Findings of both signs at {ALARMS:g} expected false alarm, in heads that no scanner made: label maps "
    "that nothing was trained or calibrated on, painted in new colours, every other one in thick slices. "
    "'free' is any contrast at all, even one that no sequence has; it is calibrated as the sequence that it "
    "looks like."
)


@dataclass(frozen=True)
class Ground:
    """What a contrast's lesions are measured with: contest, healthy scans by set, z thresholds by map and
    sign.
    """

    contest: Contest
    healthy: Mapping[str, Sequence[HealthyScan]]
    thresholds: Mapping[tuple[str, int], float]


def run(
    data: Path, out: Path, limit: int | None, console: Console, runs: Path = Path("runs")
) -> list[dict[str, object]]:
    """Measure all sets; print and write flagship.md, flagship.csv, flagship.json and a picture of each set
    into `out`; return the summary of the sets with lesions.

    limit: scans of each set, the healthy ones too. runs: with the cache of prepared healthy scans.
    """
    network = load_head_network()
    cases = {
        contrast: {
            which: list(prepared_cases(evenly(healthy_heads(data, which, contrast), limit), network, runs))
            for which in SETS
        }
        for contrast in CONTRASTS
    }
    grounds, sections, every = {}, [], []
    for contrast in CONTRASTS:
        grounds[contrast] = prepare_ground(contrast, cases[contrast])
        console.print(f"{contrast}: healthy scans measured", style="dim")
        sections += list(healthy_sections(contrast, grounds[contrast]))
    sections.append(Section("healthy heads painted from label maps", PAINTED, painted_alarms(data, network)))
    out.mkdir(parents=True, exist_ok=True)
    of_lesions: list[Section] = []
    for one in lesion_sets(data, cases, limit):
        ground = grounds[one.contrast]
        found = measure_set(one, ground, network, out, limit or PICTURES, console)
        if not found:
            continue
        if one.clear_in is not None:
            sections += region_sections(one, ground.healthy[one.clear_in], found)
        rows = [row for case in found for row in case.rows]
        every += [{"set": one.title} | flat(row) for row in rows]
        of_lesions.append(lesion_section(one, rows, ground))
        console.print(of_lesions[-1].printed())
        tables.write(out, of_lesions + sections, every)
    for section in sections:
        console.print(section.printed())
    return [row for section in of_lesions for row in section.rows]


def prepare_ground(contrast: str, cases: Mapping[str, Sequence[HealthyCase]]) -> Ground:
    """The contest of a contrast, and what it says of the healthy scans."""
    contest = open_contest(contrast, cases)
    healthy = {which: [measure_healthy(case, contest) for case in some] for which, some in cases.items()}
    val = healthy["val"]
    thresholds = {(name, sign): voxel_threshold(val, name, sign) for name in val[0].z for sign in (1, -1, 0)}
    return Ground(contest, healthy, thresholds)


def measure_set(
    which: LesionSet, ground: Ground, network: HeadNetwork, out: Path, pictures: int, console: Console
) -> list[Measured]:
    """Every case that can be prepared, without its maps; the first ones' maps in a picture."""
    measured: list[Measured] = []
    shown: list[Picture] = []
    model = shown_model([one.card.name for one in ground.contest.detectors], which.contrast)
    for case in which.cases:
        try:
            found = measure(case(), ground.contest, ground.thresholds, network)
        except AnomalyDetectError as error:
            console.print(f"left out of {which.title}: {error}", style="yellow")
            continue
        measured.append(replace(found, maps={}))
        if len(shown) < pictures:
            shown.append(_picture(found, model, ground.thresholds[model, 0]))
    if shown:
        limit = ground.thresholds[model, 0]
        note = f"{model}; colours from |z| {limit:.1f}, which 1 % of healthy voxels reach"
        write_sheet(which.title, note, shown, out / f"{file_name(which.title)}.png")
    return measured


def shown_model(names: Sequence[str], contrast: str) -> str:
    """Whose maps the pictures show: those that a user gets, or the first model's where *auto* is none of
    those that are measured, such as a rival.
    """
    taken = zoo.choose("auto", contrast).name
    return taken if taken in names else names[0]


def _picture(found: Measured, model: str, threshold: float) -> Picture:
    case = found.case
    return picture(case.name.split(".")[0], case.volume, found.maps[model], case.lesions, threshold)


def lesion_section(which: LesionSet, rows: Sequence[Row], ground: Ground) -> Section:
    """The table of one set."""
    summary = tables.summarise(which.title, rows)
    counts = {name: len(scans) for name, scans in ground.healthy.items() if scans}
    counted = " and ".join(f"{count} {name}" for name, count in counts.items())
    caption = LESIONS.format(
        what=SIGNED[rows[0].sign],
        healthy=f"{counts['val']} healthy {which.contrast} scans of the set val, all together,",
        alarms=ALARMS,
        counted=counted,
    )
    return Section(f"{which.title}, {summary[0]['patients']} patients", caption, summary)


def healthy_sections(contrast: str, ground: Ground) -> Iterator[Section]:
    """False alarms of each map."""
    sets = {which: scans for which, scans in ground.healthy.items() if scans}
    scans = ", ".join(f"{len(one)} scans of {which}" for which, one in sets.items())
    if contrast != "T1":
        scans += " (repainted heads; there is no other scanner's)"
    yield Section(
        f"healthy {contrast} scans", HEALTHY.format(scans=scans, alarms=ALARMS), healthy_figures(sets)
    )


def region_sections(
    which: LesionSet, scans: Sequence[HealthyScan], found: Sequence[Measured]
) -> Iterator[Section]:
    """For each model where its false alarms lie. found: clear lesions in these scans."""
    for model in scans[0].evidence:
        if figures := region_figures(scans, model, [case.inside[model] for case in found]):
            title = f"false alarms by region, {which.contrast}, {which.clear_in}, {model}"
            yield Section(title, REGIONS.format(count=len(scans)), figures)


def flat(row: Row) -> dict[str, object]:
    """A patient's row with its lesions and their number, without its sweep."""
    hits = [one.hit for one in row.lesions]
    return asdict(replace(row, sweep=())) | {"found": sum(hits), "there": len(hits)}


def file_name(title: str) -> str:
    """A set's title as a file's name."""
    return "_".join(
        "".join(letter if letter.isalnum() or letter in ".-" else " " for letter in title).split()
    )
