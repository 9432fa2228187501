"""`python -m pipelines.compose [GROUP=OPTION …] [KEY=VALUE …]`: compose conf/ into params.yaml, which DVC reads."""

import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dynaxx.files import write_text
from pipelines.common.help import CONF, asked, compose_help
from pipelines.common.paths import with_quoted_paths
from pipelines.common.settings import check_settings

PARAMS = Path("params.yaml")
HEADER = "# Composed from conf/ by `python -m pipelines.compose`; `dvc exp run -S KEY=VALUE` changes it too.\n"


NEEDED = ("data", "model", "train")
"""Sections with paths of the user's files."""


class ComposeError(ValueError):
    """Overrides that do not compose; the message is one line with the remedy."""


def compose_params(overrides: Sequence[str]) -> str:
    """The text of params.yaml for these Hydra overrides.

    >>> print(compose_params(["experiment=smoke", "resonance.T=6"]))

    Raises:
        ComposeError: an unknown group, option or key, a mandatory value that is missing, or a value that is not valid.
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
        overrides = with_quoted_paths(overrides)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides)
        if absent := [section for section in NEEDED if section not in config]:
            raise ComposeError(f"{absent[0]}: the section is missing; do not delete it")
        missing = _missing(OmegaConf.to_container(config, resolve=False))
        if missing:
            raise ComposeError(f"{missing[0]} is mandatory here: add {missing[0]}=VALUE to the command")
        _absolute(config)
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        plain.pop("experiment", None)
        params = {str(key): value for key, value in plain.items()}
        if params["model"].get("library") is not None:  # what an experiment says of the stand-in is not needed
            params["model"] = {k: v for k, v in params["model"].items() if k not in ("network", "pretrain")}
        check_settings(params)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        text = " ".join(str(error).split())
        unknown = text.startswith("Could not override") and re.search(r"full_key: (\S+)", f"{text} {error.__cause__}")
        raise ComposeError(_no_such_key(unknown[1]) if unknown else _plainly(text, overrides)) from None
    return params


def _no_such_key(key: str) -> str:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known = _keys(OmegaConf.to_container(compose("config"), resolve=False))
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; --help has the most used keys, conf/ all of them"
    return f"{key}: no such key here{hint}"


def _plainly(text: str, overrides: Sequence[str]) -> str:
    """Hydra's line without what has no meaning here, and with the override that it does not name."""
    if text.startswith("Config group override must be"):
        wrong = next((o for o in overrides if re.match(r"\w*=(?![A-Za-z_])|\w+=null$", o)), " ".join(overrides))
        return f"{wrong}: give the name of an option of this group; --help lists them"
    if text.startswith("Ambiguous value for argument"):
        key, _, value = text.split("'")[1].partition("=")
        return f"{key}={value}: give a list, {key}=[{value}], or one value"
    return text.split(" Config search path:")[0]


def _keys(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict) or not node:
        return [path]
    return [name for key, value in node.items() for name in _keys(value, f"{path}.{key}" if path else str(key))]


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
    if config.model.weights is not None:
        what = "a .safetensors or .pt file, or model=timm model.name=NAME for published weights"
        config.model.weights = _existing("model.weights", config.model.weights, what)
        if Path(config.model.weights).is_dir():
            raise ComposeError(f"model.weights={config.model.weights}: is a folder; give {what}")
        config.model.watch = config.model.weights
    if config.train.pretrained is not None:
        what = "the folder of an adapter, as outputs/explicit/explicit/seed-0"
        config.train.pretrained = _existing("train.pretrained", config.train.pretrained, what)


def _existing(key: str, path: Any, what: str) -> str:
    found = Path(os.path.expanduser(str(path)))
    if not str(path) or not found.exists():
        raise ComposeError(f"{key}={path}: no such file or folder; give {what}")
    return str(found.resolve())


def main(arguments: Sequence[str]) -> int:
    """Write params.yaml; on bad overrides print one line and do not change the file."""
    if asked(arguments):
        print(compose_help(), end="")
        return 0
    from pipelines.common.judge import judge  # it loads torch

    try:
        text = compose_params(arguments)
        params: Any = OmegaConf.create(text)
        judge(params)
    except (OSError, ValueError, TypeError, RuntimeError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    write_text(PARAMS, text)
    print(f"{PARAMS} written{': ' + ' '.join(arguments) if arguments else ''}; run `dvc repro`")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
