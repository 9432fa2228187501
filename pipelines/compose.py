"""`python -m pipelines.compose [GROUP=OPTION …] [KEY=VALUE …]`: compose conf/ into params.yaml, which DVC reads."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dynaxx.files import write_text

CONF = Path(__file__).resolve().parents[1] / "conf"
PARAMS = Path("params.yaml")
HEADER = "# Composed from conf/ by `python -m pipelines.compose`; `dvc exp run -S KEY=VALUE` changes it too.\n"


class ComposeError(ValueError):
    """Overrides that do not compose; the message is one line with the remedy."""


def compose_params(overrides: Sequence[str]) -> str:
    """The text of params.yaml for these Hydra overrides.

    >>> print(compose_params(["experiment=smoke", "resonance.T=6"]))

    Raises:
        ComposeError: an unknown group, option or key, or a mandatory value that is missing.
    """
    plain = compose_all(overrides)
    if plain.pop("sweep", None) is not None:
        raise ComposeError("sweep is no part of params.yaml: run `python -m pipelines.sweep` with these overrides")
    return HEADER + OmegaConf.to_yaml(OmegaConf.create(plain))


def compose_all(overrides: Sequence[str]) -> dict[str, Any]:
    """The whole composition, with the section `sweep` if the overrides choose one.

    >>> compose_all(["resonance.T=6"])["resonance"]["T"]
    6

    Raises:
        ComposeError: see `compose_params`.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", list(overrides))
        missing = _missing(OmegaConf.to_container(config, resolve=False))
        if missing:
            raise ComposeError(f"{missing[0]} is mandatory here: add {missing[0]}=VALUE to the command")
        _absolute(config)
        plain = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ComposeError(" ".join(str(error).split())) from None
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return {str(key): value for key, value in plain.items()}


def _missing(node: Any, path: str = "") -> list[str]:
    if isinstance(node, dict):
        return [name for key, value in node.items() for name in _missing(value, f"{path}.{key}" if path else str(key))]
    return [path] if node == "???" else []


def _absolute(config: DictConfig) -> None:
    """Make relative paths of the user's files absolute: stages may run in another folder (`dvc exp run --temp`).

    Raises:
        ComposeError: a file or folder that does not exist; DVC would only report a missing dependency.
    """
    if "root" in config.data:
        config.data.root = _existing("data.root", config.data.root, "a folder or .zip of images")
    weights = config.model.weights
    if weights is not None and not str(weights).startswith("timm:"):
        config.model.weights = _existing("model.weights", weights, "a .safetensors or .pt file, or timm:NAME")
        config.model.watch = config.model.weights


def _existing(key: str, path: str, what: str) -> str:
    if not Path(path).exists():
        raise ComposeError(f"{key}={path}: no such file or folder; give {what}")
    return str(Path(path).resolve())


def main(arguments: Sequence[str]) -> int:
    """Write params.yaml; on bad overrides print one line and do not change the file."""
    try:
        text = compose_params(arguments)
    except ComposeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(PARAMS, text)
    print(f"{PARAMS} written{': ' + ' '.join(arguments) if arguments else ''}; run `dvc repro`")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
