"""The commands. Each reads its options, calls one function and turns its end into an exit code.

Exit codes are sysexits(3)'s where an error has a kind (`errors.py`); 1 says that a command did its
work and found something wrong.
"""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import click

from asyncbuild import __version__, config, logs
from asyncbuild.errors import StageError

_CONFIG = click.option(
    "--config",
    "-c",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the settings; without one, defaults and ASYNCBUILD_* variables.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="asyncbuild", message="%(prog)s %(version)s")
def cli() -> None:
    """Build every branch on every push."""


@cli.command()
@_CONFIG
def serve(path: Path | None) -> None:
    """Turn pushes into builds until told to stop."""
    _serve(path, drain=False)


@cli.command()
@_CONFIG
def drain(path: Path | None) -> None:
    """Turn the pushes that wait into builds; end when the queue stays empty."""
    _serve(path, drain=True)


@cli.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def check(path: Path | None, *, as_json: bool) -> None:
    """Say whether the service could do its work, and if not, what to do about it."""
    from asyncbuild.check import run  # noqa: PLC0415 - as below

    settings = config.load(path)
    _exit(_run(run, settings, as_json))


@cli.command()
@click.argument("repository")
@click.argument("commit")
@click.option("--output", "-o", required=True, help="A file, - for standard output, or s3://…")
@_CONFIG
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def archive(repository: str, commit: str, output: str, path: Path | None, *, quiet: bool) -> None:
    """Write the tree of COMMIT in REPOSITORY (a path or URL) as a zip."""
    from asyncbuild.export import run  # noqa: PLC0415 - as below

    settings = config.load(path)
    logs.configure(settings.log)
    _run(run, settings, repository, commit, output, not quiet)


@cli.command()
@click.option("--repository", "-r", "repositories", multiple=True, help="A path or URL; repeat it.")
@click.option("--pushes", default=20, show_default=True, help="Commits to replay of each of those.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--keep", is_flag=True, help="Stay up afterwards, until Ctrl-C.")
def demo(repositories: tuple[str, ...], pushes: int, *, as_json: bool, keep: bool) -> None:
    """Show pushes turn into builds, with servers of its own on this machine."""
    from asyncbuild import service  # noqa: PLC0415 - as below
    from asyncbuild.local.demo import DemoOptions, run  # noqa: PLC0415 - as below

    options = DemoOptions(repositories=repositories, pushes=pushes, as_json=as_json, keep=keep)
    _exit(_run(run, options, service.run))


def _serve(path: Path | None, *, drain: bool) -> None:
    # Imported late: `--help` and a fault in the configuration need no AWS library, which takes
    # half a second to load.
    from asyncbuild.service import run  # noqa: PLC0415 - see above

    settings = config.load(path)
    logs.configure(settings.log)

    async def call() -> None:
        await run(settings, drain=drain)

    _run(call)


def _run(function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:  # noqa: ANN401 - whatever the command gives
    return anyio.run(function, *arguments)


def _exit(code: int) -> None:
    if code:
        sys.exit(code)


def _first_stage_error(error: BaseException) -> StageError | None:
    if isinstance(error, StageError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            found = _first_stage_error(each)
            if found is not None:
                return found
    return None


def main() -> None:
    """The entry point: one message for an error that was foreseen, a traceback for a bug."""
    try:
        cli(prog_name="asyncbuild")
    except (StageError, BaseExceptionGroup) as error:
        found = _first_stage_error(error)
        if found is None:
            raise
        click.echo(f"asyncbuild: {found.reason}", err=True)
        if found.remedy:
            click.echo(f"  remedy: {found.remedy}", err=True)
        sys.exit(found.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
