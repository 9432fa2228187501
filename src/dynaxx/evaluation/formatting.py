"""Numbers as text, for the report, its Markdown version and the terminal."""

import numpy as np


def percent(fraction: float, digits: int = 1) -> str:
    """0.7412 → '74.1 %'."""
    return f"{100 * fraction:.{digits}f} %".replace("-", "−")


def points(fraction: float, digits: int = 2) -> str:
    """A difference of fractions in percentage points, signed: 0.0127 → '+1.27'."""
    return f"{100 * fraction:+.{digits}f}".replace("-", "−")


def spread(fractions: list[float]) -> str:
    """Mean ± standard deviation over seeds in per cent; the mean alone for one seed."""
    mean = f"{100 * float(np.mean(fractions)):.1f}"
    if len(fractions) < 2:
        return mean
    return f"{mean} ± {100 * float(np.std(fractions, ddof=1)):.1f}"


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits, all those before the point kept: 1234.5 → '1,234', 0.01234 → '0.0123'."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def p_value(p: float) -> str:
    """0.0312 → '0.031'; tiny ones as a bound, since their digits mean nothing."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
