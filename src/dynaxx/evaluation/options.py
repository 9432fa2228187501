"""The options of the evaluation, checked before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynaxx.evaluation.business_value import check_requests
from dynaxx.evaluation.costs import check_costs
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.inside.look import LookOptions
from dynaxx.evaluation.statistics.paired import Bootstrap


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of the evaluation, read from the section `evaluate` of params.yaml."""

    confidence: float
    """Confidence level of all confidence intervals, such as 0.95."""
    resamples: int
    """Number of resamples per bootstrap interval."""
    seed: int
    """Seed of the bootstrap, of the order in which arms are timed, and of the draw of images to corrupt."""
    latency_batch: int
    """Number of images per forward pass when latency is measured; the decision weighs this latency."""
    throughput_batch: int
    """Number of images per forward pass when throughput is measured."""
    timing_precision: float
    """Half-width of the 95 % interval of each median latency ratio at which timing ends, as a fraction of the ratio."""
    timing_seconds: float
    """Most seconds of timing, of all arms and both batch sizes together."""
    latency_budget: float
    """Largest added latency that the decision accepts, as a fraction of the latency of the deployed probe."""
    minimum_relative_gain: float
    """Smallest gain that the decision accepts, as a fraction of what the probe reaches; of an error its reduction."""
    residual_iterations: int
    """Number of loop iterations of `explicit` over which its residuals are recorded."""
    T: list[int]
    """Numbers of loop iterations at which the metric of the trained `explicit` is measured as well."""
    settled_at: float
    """Relative residual of the loop at or below which an image counts as converged."""
    attributed_images: int = 0
    """Number of test images whose predictions are attributed to pixels; 0 skips the attributions."""
    gallery: int = 0
    """Number of samples shown that only the best reading gets right, and same for the probe; 0 skips the gallery."""
    corrupted_images: int = 0
    """Number of test images that receive every corruption at every strength; 0 skips the corruptions."""
    costs: Any = None
    """Price of an error, or class → prices of a missed one and of a false alarm (see `costs.py`); None for none."""
    requests_per_day: float | None = None
    """Number of images that the model answers per day; None skips the yearly value."""

    def __post_init__(self) -> None:
        # check before any work is done
        if self.costs is not None:
            check_costs(self.costs)
        check_requests(self.requests_per_day, self.costs)
        for name in ("timing_precision", "timing_seconds"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
                raise EvaluationError(f"evaluate.{name}={value!r}: give a number above 0")
        for name, least in (
            ("residual_iterations", 1),
            ("attributed_images", 0),
            ("gallery", 0),
            ("corrupted_images", 0),
        ):
            if not _is_count(getattr(self, name), least):
                raise EvaluationError(f"evaluate.{name}={getattr(self, name)!r}: give a whole number from {least} on")
        if not isinstance(self.T, Sequence) or not all(_is_count(steps, 1) for steps in self.T) or not self.T:
            raise EvaluationError(f"evaluate.T={self.T!r}: give a list of whole numbers from 1 on")

    @property
    def bootstrap(self) -> Bootstrap:
        """Keyword arguments of every bootstrap interval."""
        return Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)

    @property
    def look(self) -> LookOptions:
        """Options of `look_inside`, which measures the loop of `explicit`."""
        return LookOptions(self.residual_iterations, self.T, self.settled_at, self.attributed_images)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
