"""Studies that use validation data only, on a seed that no evaluation uses: tuning, curves, trials of a sweep.

Read `tuning.py` first. `label_curve.py` and `size_curve.py` train arms with fewer labels and `explicit` in other sizes.
`trial.py` runs one trial of a sweep; import it by itself, as it loads Lightning.
"""

from dynaxx.evaluation.validation.label_curve import (
    CURVE_ARMS,
    LabelPoint,
    measure_label_curve,
    passes,
    read_label_curve,
    with_labels,
    write_label_curve,
)
from dynaxx.evaluation.validation.size_curve import SizePoint, measure_size_curve, read_size_curve, write_size_curve
from dynaxx.evaluation.validation.tuning import (
    SETTINGS,
    Tuned,
    chosen,
    read_tuned,
    trial_folder,
    tune,
    with_settings,
    write_tuned,
)

__all__ = [
    "CURVE_ARMS",
    "SETTINGS",
    "LabelPoint",
    "SizePoint",
    "Tuned",
    "chosen",
    "measure_label_curve",
    "measure_size_curve",
    "passes",
    "read_label_curve",
    "read_size_curve",
    "read_tuned",
    "trial_folder",
    "tune",
    "with_labels",
    "with_settings",
    "write_label_curve",
    "write_size_curve",
    "write_tuned",
]
