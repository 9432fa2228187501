"""Studies on validation images only: tuning, model sizes, fewer labels, and trials of a hyperparameter search.

All trainings have a seed that no evaluation on test images uses.

Read `tuning.py` first. `label_curve.py` trains arms (competitors of the comparison) with fewer labelled images.
`size_curve.py` trains the arm `explicit` in other sizes. `trial.py` runs one trial of a hyperparameter search; this
package does not import it, because it loads Lightning.
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
