#!/usr/bin/env python3
"""The value of a training's option: that of its arguments, or else that of its configuration.

    utils/config_value.py conf/train_ctc.yaml normalize --max_epoch 3 --normalize global_mvn

prints "global_mvn"; an option that neither names is an empty line."""

import argparse
import sys
from pathlib import Path

import yaml


def value_of(config: Path, key: str, words: list[str]) -> object:
    """As ESPnet's parser has it: the last of the words, then the configuration; None: neither.

    Raises ValueError for a configuration that cannot be read."""
    parser = argparse.ArgumentParser(prog="config_value.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, default=config)
    parser.add_argument(f"--{key}")
    args, _ = parser.parse_known_args(words)
    if (given := getattr(args, key)) is not None:
        return given
    try:
        found = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{args.config} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{args.config} holds no options: write lines of 'name: value'")
    return found.get(key)


def main() -> None:
    """Print the value of a configuration's key, as the training will see it."""
    config, key, *words = sys.argv[1:]
    try:
        value = value_of(Path(config), key, words)
    except ValueError as error:
        sys.exit(f"config_value.py: error: {error}")
    print("" if value is None else value)


if __name__ == "__main__":
    main()
