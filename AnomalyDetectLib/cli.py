"""anomalydetect …: the command line."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from AnomalyDetectLib import __version__
from AnomalyDetectLib.errors import AnomalyDetectError
from AnomalyDetectLib.report.console_table import findings_table
from AnomalyDetectLib.report.notice import NOTICE

FAILED = 2

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=f"Shows what is unusual in a brain scan. {NOTICE}",
)
out = Console()
err = Console(stderr=True)


class Modality(str, Enum):
    """Contrasts that can be given; auto: guess."""

    auto = "auto"
    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    PD = "PD"
    CT = "CT"

    @property
    def given(self) -> str | None:
        """The contrast, None for auto."""
        return None if self is Modality.auto else self.value


class Device(str, Enum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


def _fail(message: str) -> None:
    err.print(f"[red]error:[/red] {message}", soft_wrap=True, highlight=False, markup=True)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"anomalydetect {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def run(
    scans: Annotated[list[Path], typer.Argument(help="NIfTI, NRRD, MHA files or DICOM series folders.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the results; one sub-folder a scan.")],
    modality: Annotated[Modality, typer.Option(help="Contrast of the scans.")] = Modality.auto,
    also: Annotated[
        Path | None, typer.Option(help="A second sequence of the same patient, on any grid; with one SCAN.")
    ] = None,
    also_modality: Annotated[Modality, typer.Option(help="Contrast of the second sequence.")] = Modality.auto,
    brain_mask: Annotated[
        Path | None, typer.Option(help="Brain mask on the scan's grid, instead of the found one.")
    ] = None,
    model: Annotated[str, typer.Option(help="A name from `anomalydetect models`.")] = "auto",
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = Device.auto,
    false_alarms: Annotated[
        float, typer.Option(help="Expected false alarms per healthy brain, 0.01-30.")
    ] = 1.0,
    age: Annotated[
        float | None, typer.Option(help="Age in years, compared with the model's training set.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Take scans to findings. A scan that can't be processed gets one line and exit code 2; the others go
    on.
    """
    from AnomalyDetectLib import pipeline
    from AnomalyDetectLib.devices import choose_device
    from AnomalyDetectLib.io.read import case_name, read_mask, read_volume
    from AnomalyDetectLib.models import zoo
    from AnomalyDetectLib.report.write_case import write_case

    reports: list[dict[str, Any]] = []
    failed = 0
    with _progress(as_json) as progress:
        try:
            chosen_device = choose_device(device.value)
            network = pipeline.load_head_network()
            if model != "auto":
                zoo.choose(model, None)
            _check_false_alarms(false_alarms)
            _check_also(also, scans)
        except AnomalyDetectError as error:
            _fail(str(error))
            raise typer.Exit(FAILED) from None

        @functools.cache
        def detector(contrast: str) -> pipeline.Detector:
            return pipeline.load_detector(zoo.choose(model, contrast), chosen_device, contrast)

        for scan, case in zip(scans, _distinct([case_name(scan) for scan in scans]), strict=True):
            task = progress.add_task(case, total=1.0, stage="read")
            try:
                volume = read_volume(scan, modality.given)
                second = None if also is None else read_volume(also, also_modality.given)
                mask = None if brain_mask is None else read_mask(brain_mask, volume.grid)
                detection = pipeline.detect(
                    volume,
                    network,
                    detector,
                    also=second,
                    brain_mask=mask,
                    expected_false_alarms=false_alarms,
                    age=age,
                    progress=_show(progress, task),
                )
                report = write_case(detection, to, case, str(scan), also=str(also or ""))
                reports.append(report.to_dict())
                progress.update(task, completed=1.0, stage="written")
            except AnomalyDetectError as error:
                failed += 1
                progress.update(task, stage="failed")
                _fail(str(error))
    if as_json:
        out.print_json(json.dumps(reports if len(scans) > 1 else (reports[0] if reports else {})))
    else:
        for report_fields in reports:
            _print_report(report_fields, to)
            if model == "auto":
                _print_choice(report_fields)
        out.print(NOTICE, style="dim")
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def findings(
    score: Annotated[Path, typer.Argument(help="A score map of any tool: NIfTI, NRRD or MHA.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the results; one sub-folder for the map.")],
    brain_mask: Annotated[
        Path | None, typer.Option(help="Where to look; else where the score is not 0.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least |score|, else 3.5; for percentile the percentage, else 99.")
    ] = None,
    method: Annotated[str, typer.Option(help="fixed, percentile, otsu or yen.")] = "fixed",
    hysteresis: Annotated[float | None, typer.Option(help="Weaker threshold of the borders.")] = None,
    sign: Annotated[str, typer.Option(help="bright, dark or both.")] = "both",
    open_mm: Annotated[float, typer.Option(help="Radius of the opening, mm.")] = 0.0,
    close_mm: Annotated[float, typer.Option(help="Radius of the closing, mm.")] = 0.0,
    grow_mm: Annotated[float, typer.Option(help="Grow, or shrink when negative, mm.")] = 0.0,
    min_volume_mm3: Annotated[float, typer.Option(help="Smaller findings are dropped, mm³.")] = 30.0,
) -> None:
    """Findings from a score map alone: mask.nii.gz and findings.csv."""
    from AnomalyDetectLib.findings.settings import FindingsSettings
    from AnomalyDetectLib.findings.thresholds import ThresholdChoice, method_of_score
    from AnomalyDetectLib.report.write_case import write_findings_of_score

    def work() -> None:
        value = threshold if threshold is not None else 99.0 if method == "percentile" else 3.5
        choice = ThresholdChoice(method_of_score(method, hysteresis), value, weak=hysteresis)
        settings = FindingsSettings(
            sign=sign,  # type: ignore[arg-type]  # checked there
            open_mm=open_mm,
            close_mm=close_mm,
            grow_mm=grow_mm,
            min_volume_mm3=min_volume_mm3,
        )
        found = write_findings_of_score(score, brain_mask, choice, settings, to)
        rows = [dataclasses.asdict(row) for row in found.table]
        out.print(choice.method.meaning, highlight=False)
        out.print(findings_table(rows, found.settings.threshold, None))

    _guard(work)


@app.command()
def explain(
    case: Annotated[Path, typer.Argument(help="A scan's folder, as `run` wrote it.")],
    finding: Annotated[int, typer.Argument(help="The number of a finding in findings.csv.")],
    scan: Annotated[
        Path | None, typer.Option(help="The scan, when it isn't where report.json says any more.")
    ] = None,
    also: Annotated[Path | None, typer.Option(help="The second sequence, likewise.")] = None,
    brain_mask: Annotated[Path | None, typer.Option(help="The brain mask, when `run` was given one.")] = None,
    device: Annotated[Device, typer.Option(help="Where the models run.")] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print why.json.")] = False,
) -> None:
    """Why a finding is one: what its score is made of, where it comes from, which models see it. Writes
    why.png and why.json into CASE/why_<finding>/.
    """
    from AnomalyDetectLib import pipeline
    from AnomalyDetectLib.devices import choose_device
    from AnomalyDetectLib.explain.case import Sources
    from AnomalyDetectLib.explain.tables import explanation_tables
    from AnomalyDetectLib.explain.write_why import explain_case

    def work() -> None:
        chosen_device = choose_device(device.value)
        with _progress(as_json) as progress:
            task = progress.add_task(f"{case.name}, finding {finding}", total=1.0, stage="read")
            folder, numbers = explain_case(
                case,
                finding,
                pipeline.load_head_network(),
                lambda card, contrast: pipeline.load_detector(card, chosen_device, contrast),
                Sources(scan=scan, also=also, brain_mask=brain_mask),
                progress=_show(progress, task),
            )
            progress.update(task, completed=1.0, stage="written")
        if as_json:
            out.print_json(json.dumps(numbers))
            return
        for shown in explanation_tables(numbers):
            out.print(shown, highlight=False, markup=False)
        out.print(f"  {folder / 'why.png'}", highlight=False)
        out.print(NOTICE, style="dim")

    _guard(work)


@app.command()
def models() -> None:
    """The zoo: name, family, contrasts, measured average precision, licence, size, and what `auto` takes and
    why. All other figures stand on the models' cards.
    """
    from AnomalyDetectLib.models import zoo
    from AnomalyDetectLib.models.choice import choices

    table = Table(title="Normative models")
    table.add_column("name", no_wrap=True)  # to be typed
    for title in ("contrasts", "auto for", "average precision", "licence of the weights", "MB"):
        table.add_column(title)
    known = zoo.cards()
    taken = choices(known)
    for card in known:
        figures = "\n".join(f"{name}: {value}" for name, value in card.figures.items() if "AP" in name)
        table.add_row(
            f"{card.name} {card.version}\n({card.family})",
            ", ".join(card.contrasts),
            ", ".join(contrast for contrast, choice in taken.items() if choice.card.name == card.name),
            figures,
            card.licence.split(" (")[0],  # of which data, the card says
            f"{card.megabytes:.1f}",
        )
    out.print(table)
    for contrast, choice in taken.items():
        out.print(f"auto, {contrast}: {choice.reason}", highlight=False)
    out.print(NOTICE, style="dim")


@app.command()
def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("demo"),
    false_alarms: Annotated[float, typer.Option(help="Expected false alarms per healthy brain.")] = 1.0,
) -> None:
    """The bundled simulated patient, end to end, with pictures."""
    from AnomalyDetectLib.evaluation.demo import run_demo

    _guard(lambda: run_demo(to, false_alarms, out))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """What is installed, what is missing, what to do."""
    from AnomalyDetectLib.doctor import diagnose, show

    found = diagnose()
    if as_json:
        out.print_json(json.dumps(found))
    else:
        show(found, out)


@app.command()
def bundle(
    to: Annotated[Path, typer.Argument(help="A new folder.")],
    python_version: Annotated[
        str | None, typer.Option(help="Python of the Slicer that it is for, such as 3.12; else this one's.")
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(help="pip's platform tag, such as win_amd64; may be repeated; else this system's."),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(help="One more package index, such as https://download.pytorch.org/whl/cu126."),
    ] = None,
) -> None:
    """Wheels and models for an installation in Slicer without a network, each file with its SHA-256."""
    from AnomalyDetectLib.bundle import build_bundle

    def work() -> None:
        out.print(f"{build_bundle(to, python_version=python_version, platforms=platform or [], index=index)}")

    _guard(work)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file such as configs/restore_t1.toml.")],
    data: Annotated[Path, typer.Option(help="Folder of the training data.")],
    runs: Annotated[Path, typer.Option(help="Folder for caches, checkpoints and curves.")] = Path("runs"),
    steps: Annotated[int | None, typer.Option(help="Updates in all, instead of the config's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, instead of the config's.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads, instead of the config's.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that make the samples, instead of the config's; a GPU wants many."),
    ] = None,
) -> None:
    """Train a model; a run that was stopped goes on from its checkpoint."""
    from AnomalyDetectLib.training.config import train_from

    asked = {"steps": steps, "device": device, "threads": threads, "workers": workers}
    loop = {name: value for name, value in asked.items() if value is not None}
    _guard(lambda: train_from(config, data, runs, loop, out))


@app.command()
def ship(
    config: Annotated[
        Path, typer.Argument(help="The TOML file that the model was trained with, or an ensemble's.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the training data.")],
    runs: Annotated[Path, typer.Option(help="Folder of the trained weights.")] = Path("runs"),
) -> None:
    """Calibrate a trained model, or an ensemble of shipped ones, on healthy scans and write its folder in
    Resources/Models.
    """
    from AnomalyDetectLib.training.ship import ship_from

    _guard(lambda: ship_from(config, data, runs, out))


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(help="zoo, road, detection, flagship, preparation or findings.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the development data.")] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder for tables and pictures.")] = Path(
        "runs/benchmark"
    ),
    limit: Annotated[int | None, typer.Option(help="Use only so many scans of each set.")] = None,
    model: Annotated[
        str, typer.Option(help="For findings with --data: whose false alarms are counted.")
    ] = "auto",
    onto_cards: Annotated[
        bool, typer.Option(help="For detection and zoo: write the figures onto the models' cards.")
    ] = False,
    models: Annotated[str, typer.Option(help="For zoo: only these models, separated by commas.")] = "",
    sets: Annotated[str, typer.Option(help="For zoo: only these contrasts, such as T1,CT.")] = "",
    slow_limit: Annotated[
        int | None,
        typer.Option(help="For zoo: scans of each set for a model whose first scan took over 10 s; 4."),
    ] = None,
) -> None:
    """Measure the product and print the figures that the cards quote."""
    from AnomalyDetectLib.evaluation.benchmarks import run_benchmark

    _guard(
        lambda: run_benchmark(
            name, data, to, limit, out, model, onto_cards, models=models, sets=sets, slow_limit=slow_limit
        )
    )


def main() -> None:
    """Entry point of the console command."""
    app()


def _guard(work: Callable[[], object]) -> None:
    try:
        work()
    except AnomalyDetectError as error:
        _fail(str(error))
        raise typer.Exit(FAILED) from None


def _check_false_alarms(value: float) -> None:
    if not 0.01 <= value <= 30:
        raise AnomalyDetectError(f"--false-alarms {value}: give a number from 0.01 to 30")


def _check_also(also: Path | None, scans: list[Path]) -> None:
    if also is not None and len(scans) != 1:
        raise AnomalyDetectError(
            f"--also {also.name}: it is a second sequence of one patient, and {len(scans)} scans were given; "
            "give one SCAN"
        )


def _distinct(names: list[str]) -> list[str]:
    """Case names, numbered where several scans have the same."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def _progress(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"))
    return Progress(*columns, TimeElapsedColumn(), console=err, disable=quiet)


def _show(progress: Progress, task: Any) -> Callable[[str, float], None]:
    return lambda stage, share: progress.update(task, completed=share, stage=stage)


def _print_report(report: dict[str, Any], to: Path) -> None:
    fit = report["fit"]
    reasons = f" ({'; '.join(fit['reasons'])})" if fit["reasons"] else ""
    model = report["model"]["name"]
    second = report["also"]
    beside = f", beside it {second['modality']}, model {second['model']['name']}" if second else ""
    out.print(
        f"[bold]{report['case']}[/bold]: {report['modality']}, model {model}, "
        f"fit {fit['verdict']}{reasons}{beside}"
    )
    out.print(findings_table(report["findings"], report["threshold"], report["expected_false_alarms"]))
    out.print(f"  {to / report['case']}")


def _print_choice(report: dict[str, Any]) -> None:
    """Why `auto` took the model of each sequence."""
    from AnomalyDetectLib.models import zoo

    second = report["also"]
    for modality in dict.fromkeys([report["modality"], *([second["modality"]] if second else [])]):
        out.print(f"  auto, {modality}: {zoo.automatic(modality).reason}", highlight=False)


if __name__ == "__main__":
    main()
