"""The benchmarks by name, as `anomalydetect benchmark NAME` runs them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from AnomalyDetectLib.errors import AnomalyDetectError

WITH_DATA = ("detection", "flagship", "preparation", "road", "zoo")


def run_benchmark(
    name: str,
    data: Path | None,
    out: Path,
    limit: int | None,
    console: Console,
    model: str = "auto",
    onto_cards: bool = False,
    models: str = "",
    sets: str = "",
    slow_limit: int | None = None,
) -> None:
    """Run one benchmark. Raises `AnomalyDetectError` for an unknown name or a missing data folder.

    findings: without data how long a slider step takes, with data whether a model's false alarms are as
    expected. onto_cards: the figures of detection or zoo are written onto the models' cards. models, sets,
    slow_limit: of the zoo, the first two separated by commas; see `zoo_benchmark.Choice`.
    """
    if (name in WITH_DATA or data is not None) and (data is None or not data.is_dir()):
        raise AnomalyDetectError(f"benchmark {name}: give the folder of the development data with --data")
    if name == "findings" and data is not None:
        from AnomalyDetectLib.evaluation import false_alarms_benchmark

        false_alarms_benchmark.run(data, out, model, limit, console)
        return
    if name == "findings":
        from AnomalyDetectLib.evaluation import findings_benchmark

        findings_benchmark.run(out, console=console)
        return
    if name == "panel":
        from AnomalyDetectLib.evaluation import panel_benchmark

        panel_benchmark.run(out, console)
        return
    assert data is not None or name not in WITH_DATA
    if name == "detection":
        from AnomalyDetectLib.evaluation import detection_benchmark

        detection_benchmark.run(Path(str(data)), out, limit, console, onto_cards)
    elif name == "flagship":
        from AnomalyDetectLib.evaluation import flagship_benchmark

        flagship_benchmark.run(Path(str(data)), out, limit, console)
    elif name == "preparation":
        from AnomalyDetectLib.evaluation import preparation_benchmark

        preparation_benchmark.run(Path(str(data)), out, limit, console)
    elif name == "road":
        from AnomalyDetectLib.evaluation import road_benchmark

        road_benchmark.run(Path(str(data)), out, console)
    elif name == "zoo":
        from AnomalyDetectLib.evaluation import zoo_benchmark

        choice = zoo_benchmark.Choice(
            limit,
            zoo_benchmark.SLOW_LIMIT if slow_limit is None else slow_limit,
            tuple(models.split(",")) if models else (),
            tuple(sets.split(",")) if sets else (),
            onto_cards,
        )
        zoo_benchmark.run(Path(str(data)), out, choice, console)
    else:
        raise AnomalyDetectError(
            f"benchmark {name!r} is unknown; there are {', '.join((*WITH_DATA, 'findings', 'panel'))}"
        )
