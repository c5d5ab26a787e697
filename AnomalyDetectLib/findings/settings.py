"""FindingsSettings: what the reader has chosen, checked once and for all."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from AnomalyDetectLib.errors import FindingsSettingsError

SignChoice = Literal["bright", "dark", "both"]

THRESHOLD_RANGE = (0.01, 1000.0)
RADIUS_RANGE_MM = (0.0, 10.0)
GROW_RANGE_MM = (-5.0, 5.0)
MIN_VOLUME_RANGE_MM3 = (0.0, 2e6)  # no brain is larger than two litres
UNCERTAINTY_RANGE = (0.0, 1000.0)


def _number(name: str, value: object, unit: str, low: float, high: float) -> float:
    """The value as a float within [low, high], or `FindingsSettingsError` naming both."""
    allowed = f"the allowed range is {low:g} to {high:g}{unit and ' ' + unit}"
    if isinstance(value, (bool, str, bytes)) or value is None:
        raise FindingsSettingsError(f"{name}: {value!r} is not a number; {allowed}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise FindingsSettingsError(f"{name}: {value!r} is not a number; {allowed}") from None
    if not (math.isfinite(number) and low <= number <= high):
        raise FindingsSettingsError(f"{name}: {number:g}{unit and ' ' + unit} is not allowed; {allowed}")
    return number


def _choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed or (isinstance(value, int) and not isinstance(value, bool)):
        listed = ", ".join(str(choice) for choice in allowed)
        raise FindingsSettingsError(f"{name}: {value!r} is not allowed; choose one of {listed}")


@dataclass(frozen=True)
class FindingsSettings:
    """How findings are made from a score map.

    threshold: z, 0.01 to 1000; a voxel is anomalous where |score| >= threshold.
    hysteresis: z, or None; anomalous regions extend down to this weaker threshold (0.01 to `threshold`).
    sign: bright (score > 0), dark (score < 0) or both.
    open_mm, close_mm: radius of the ball, 0 to 10 mm. grow_mm: -5 to 5 mm, negative shrinks.
    min_volume_mm3: smaller findings are dropped, 0 to 2,000,000 mm³ (and no more than the scan's brain).
    fill_holes: whether cavities inside a finding belong to it.
    max_uncertainty: z, or None for no limit; findings whose mean uncertainty is above it are uncertain.
    hide_uncertain: whether uncertain findings leave the labelmap or stay, marked.

    Raises `FindingsSettingsError`, with the allowed range, for any other value.
    """

    threshold: float = 3.5
    hysteresis: float | None = None
    sign: SignChoice = "both"
    open_mm: float = 0.0
    close_mm: float = 0.0
    grow_mm: float = 0.0
    min_volume_mm3: float = 30.0
    fill_holes: bool = True
    max_uncertainty: float | None = None
    hide_uncertain: bool = True

    def __post_init__(self) -> None:
        number = {
            "threshold": _number("threshold", self.threshold, "z", *THRESHOLD_RANGE),
            "open_mm": _number("open_mm", self.open_mm, "mm", *RADIUS_RANGE_MM),
            "close_mm": _number("close_mm", self.close_mm, "mm", *RADIUS_RANGE_MM),
            "grow_mm": _number("grow_mm", self.grow_mm, "mm", *GROW_RANGE_MM),
            "min_volume_mm3": _number("min_volume_mm3", self.min_volume_mm3, "mm³", *MIN_VOLUME_RANGE_MM3),
        }
        if self.hysteresis is not None:
            weakest = (THRESHOLD_RANGE[0], number["threshold"])
            number["hysteresis"] = _number("hysteresis", self.hysteresis, "z", *weakest)
        if self.max_uncertainty is not None:
            limit = _number("max_uncertainty", self.max_uncertainty, "z", *UNCERTAINTY_RANGE)
            number["max_uncertainty"] = limit
        _choice("sign", self.sign, get_args(SignChoice))
        _choice("fill_holes", self.fill_holes, (True, False))
        _choice("hide_uncertain", self.hide_uncertain, (True, False))
        for name, value in number.items():
            object.__setattr__(self, name, value)

    @property
    def signs(self) -> tuple[int, ...]:
        """The signs looked for: 1 bright, -1 dark."""
        return {"bright": (1,), "dark": (-1,), "both": (1, -1)}[self.sign]

    @property
    def weakest(self) -> float:
        """The lowest |z| that a voxel of a finding has before morphology."""
        return self.threshold if self.hysteresis is None else self.hysteresis

    def changed(self, **changes: Any) -> FindingsSettings:
        """These settings with some values replaced, checked again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FindingsSettings:
        """Settings from `to_dict`; raises `FindingsSettingsError` for a name that does not exist."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise FindingsSettingsError(f"{unknown[0]}: no such setting; known are {', '.join(known)}")
        return cls(**values)
