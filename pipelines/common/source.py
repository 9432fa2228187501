"""The data source of params.yaml."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from dynaxx.data import DataError, Source


def open_source(data: DictConfig) -> Source:
    """Instantiate `data.source`.

    >>> open_source(read_params().data).classes()[:2]
    ('0', '1')

    Raises:
        DataError: params.yaml was changed in only one of two places that must have the same value.
    """
    for key, value in data.source.items():
        if key in data and data[key] != value:
            raise DataError(
                f"data.{key}={data[key]} but data.source.{key}={value}: params.yaml holds both and they must agree; "
                f"compose again with `python -m pipelines.compose … data.{key}={data[key]}`"
            )
    return instantiate(data.source)
