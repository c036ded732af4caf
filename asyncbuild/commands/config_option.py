"""Option `--config` of the commands that read the configuration."""

from pathlib import Path

import click

from asyncbuild.config.variables import FILE_VARIABLE

CONFIG = click.option(
    "--config",
    "-c",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=FILE_VARIABLE,
    show_envvar=True,
    help="TOML file with the settings; without one, defaults and ASYNCBUILD_* variables.",
)
