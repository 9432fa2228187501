"""Names of runs, metrics and tags in MLflow, whose charts compare runs by these names."""

from dynaxx.tracking.escape import NAME_BYTES, escaped, shortened

COST_LATENCY_P50_MS = "cost/latency_p50_ms"
COST_LATENCY_P90_MS = "cost/latency_p90_ms"
COST_LATENCY_P99_MS = "cost/latency_p99_ms"
COST_LATENCY_RATIO = "cost/latency_ratio"
COST_GFLOPS = "cost/gflops"
COST_TRAIN_SECONDS = "cost/train_seconds"
COST_PEAK_MEMORY_MB = "cost/peak_memory_mb"
COST_THROUGHPUT_PER_S = "cost/throughput_per_s"
COST_TRAINED_PARAMETERS = "cost/trained_parameters"

TAG_KIND = "dynaxx.kind"
KIND_ARM = "arm"
KIND_PIPELINE = "pipeline"
KIND_SWEEP = "sweep"
KIND_TRIAL = "trial"
TAG_STUDY = "dynaxx.study"
TAG_TRIAL = "dynaxx.trial"
TAG_STATE = "dynaxx.state"
TAG_PIPELINE = "dynaxx.pipeline"
TAG_STAGE_KEY = "dynaxx.stage_key"
TAG_ARM = "dynaxx.arm"
TAG_SEED = "dynaxx.seed"
TAG_ARTIFACTS = "dynaxx.artifacts"
TAG_DATA = "dynaxx.data"


def on_test(name: str) -> str:
    """The name under which a metric on test samples is logged: 'accuracy' → 'test/accuracy'.

    >>> on_test("rmse")
    'test/rmse'
    """
    return f"test/{name}"


def by_epoch(name: str) -> str:
    """The name of the curve of a metric over the epochs of a training, beside its value at the end.

    >>> by_epoch("val/rmse")
    'val/rmse_by_epoch'
    """
    return f"{name}_by_epoch"


def arm_tags(stage_key: str, arm: str, seed: int) -> dict[str, str]:
    """The tags that identify the run of one arm (competitor of the comparison) and seed."""
    return {TAG_KIND: KIND_ARM, TAG_STAGE_KEY: escaped(stage_key), TAG_ARM: escaped(arm), TAG_SEED: str(seed)}


def pipeline_tags(key: str) -> dict[str, str]:
    """The tags that identify the parent run of one pipeline."""
    return {TAG_KIND: KIND_PIPELINE, TAG_PIPELINE: escaped(key)}


def sweep_tags(study: str) -> dict[str, str]:
    """The tags that identify the parent run of one study."""
    return {TAG_KIND: KIND_SWEEP, TAG_STUDY: escaped(study)}


def trial_tags(study: str, number: int) -> dict[str, str]:
    """The tags that identify the run of one trial of a study."""
    return {TAG_KIND: KIND_TRIAL, TAG_STUDY: escaped(study), TAG_TRIAL: str(number)}


def arm_run_name(arm: str, seed: int, subject: str = "") -> str:
    """The name of the run of one arm and seed in MLflow's tables."""
    return run_name(subject, arm, f"seed-{seed}")


def run_name(*parts: str) -> str:
    """The name of a run in MLflow's tables, of the parts that are not empty, in one line.

    >>> run_name("digits", "SmallResNet", "explicit", "seed-0")
    'digits/SmallResNet/explicit/seed-0'
    """
    return shortened(" ".join("/".join(filter(None, parts)).split()), NAME_BYTES)
