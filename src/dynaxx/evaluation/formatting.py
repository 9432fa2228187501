"""Numbers as text, for the report, its Markdown version and the terminal."""

import numpy as np

from dynaxx.tasks import Metric

LABELS = {
    "accuracy": "accuracy",
    "macro_recall": "macro recall",
    "iou": "IoU",
    "dice": "Dice",
    "auroc": "AUROC",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "cost": "cost",
}
"""Metric → its name in texts."""
ERRORS = ("rmse", "mae")
"""Measures in the unit of the labels."""


def label(name: str) -> str:
    """The name of a metric in texts: 'macro_recall' → 'macro recall'."""
    return LABELS.get(name, name.replace("_", " "))


def in_points(metric: Metric) -> bool:
    """Whether a metric is a fraction, whose differences are told in percentage points."""
    return not metric.unit and not metric.root


def axis_scale(metric: Metric) -> int:
    """The factor by which values stand on an axis: 100 for fractions, which are told in per cent."""
    return 100 if in_points(metric) else 1


def titled(metric: Metric, *, plain: bool = False) -> str:
    """The metric with its unit, as the head of a column: 'accuracy %', 'RMSE, mm'; `plain` tells fractions as such."""
    unit = "" if plain else " %"
    if not in_points(metric):
        unit = f", {metric.unit}" if metric.unit else ""
    return label(metric.name) + unit


def unit_of_gain(metric: Metric) -> str:
    """The unit of a difference: 'points', or the metric's own."""
    return "points" if in_points(metric) else metric.unit


def of_metric(value: float, metric: Metric, digits: int = 1) -> str:
    """A value of a metric as text: 0.956 → '95.6 %', 0.283 with unit mm → '0.283 mm'; `digits` of fractions alone."""
    return percent(value, digits) if in_points(metric) else f"{number(value)} {metric.unit}".rstrip()


def on_axis(value: float, metric: Metric) -> float:
    """A value of a metric as it stands on an axis: 0.8 of accuracy → 80.0, as fractions are told in per cent."""
    return axis_scale(metric) * value


def cell(value: float, metric: Metric, digits: int = 1) -> str:
    """A value in a column that `titled` heads: 0.956 → '95.6', 0.283 with unit mm → '0.283'."""
    return f"{on_axis(value, metric):.{digits}f}" if in_points(metric) else number(value)


def measure(name: str, metric: Metric) -> Metric:
    """Another measure of the same task as a metric, for its title and digits: errors have the unit of the labels."""
    return Metric(name, higher_is_better=False, root=True, unit=metric.unit) if name in ERRORS else Metric(name)


def gained(gain: float, metric: Metric, *, unit: bool = True, digits: int = 2) -> str:
    """A gain as signed text: 0.0631 of accuracy → '+6.31 points of accuracy'; 0.25 of an RMSE in mm → '+0.250 mm'."""
    if in_points(metric):
        return points(gain, digits) + (f" points of {label(metric.name)}" if unit else "")
    text = f"{'+' if gain >= 0 else ''}{number(gain)}"
    return f"{text} {unit_of_gain(metric)}".rstrip() if unit else text


def amount(change: float, metric: Metric, *, unit: bool = True) -> str:
    """A change without a plus sign: 0.0631 of accuracy → '6.31 points of accuracy'; 0.25 of an RMSE → '0.250 mm'."""
    return gained(change, metric, unit=unit).removeprefix("+")


def number(value: float) -> str:
    """A number of any sign with three significant digits."""
    return ("−" if value < 0 else "") + significant(abs(value))


def scattered(values: list[float], metric: Metric) -> str:
    """Mean ± standard deviation over seeds of one value per seed; of fractions in per cent."""
    if in_points(metric):
        return spread(values)
    mean = number(float(np.mean(values)))
    return mean if len(values) < 2 else f"{mean} ± {significant(float(np.std(values, ddof=1)), 2)}"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as text in per cent: 0.7412 → '74.1 %'."""
    return f"{100 * fraction:.{digits}f} %".replace("-", "−")


def points(fraction: float, digits: int = 2) -> str:
    """A difference of two fractions as signed text in percentage points: 0.0127 → '+1.27'."""
    return f"{100 * fraction:+.{digits}f}".replace("-", "−")


def spread(fractions: list[float]) -> str:
    """Mean ± standard deviation of one fraction per seed, as text in per cent; one seed gives the mean alone."""
    mean = f"{100 * float(np.mean(fractions)):.1f}"
    if len(fractions) < 2:
        return mean
    return f"{mean} ± {100 * float(np.std(fractions, ddof=1)):.1f}"


def significant(value: float, digits: int = 3) -> str:
    """A number as text with `digits` significant digits and a whole integer part: 1234.5 → '1,234'."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def p_value(p: float) -> str:
    """A p-value as text with three decimals: 0.0312 → '0.031'; values below 0.001 become '< 0.001'."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
