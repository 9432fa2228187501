"""Numbers as text, for the report, its Markdown version and the terminal."""

import numpy as np


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
