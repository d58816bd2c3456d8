# SPDX-License-Identifier: Apache-2.0
"""The `ophclip` command: finds the subcommand, runs it, and turns failures into one clear line.

Subcommands live in their own modules and are imported only when called, so `--help` stays fast.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

import click

from ophclip import console
from ophclip._version import __version__
from ophclip.cli.lazy import LazyGroup
from ophclip.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, OphclipError

COMMANDS = {
    "demo": ("ophclip.cli.demo:demo", "The whole pipeline on a simulated corpus, on a laptop, in minutes."),
    "corpus": ("ophclip.cli.corpus:corpus", "Build a corpus from downloads, or simulate one."),
    "cache": ("ophclip.cli.cache:cache", "Decode once, encode, store; resumable."),
    "pretrain": ("ophclip.cli.pretrain:pretrain", "Hierarchical, retrieval-augmented pretraining."),
    "evaluate": ("ophclip.cli.evaluate:evaluate", "Zero-shot phase and instrument recognition."),
    "compare": ("ophclip.cli.compare:compare", "Results side by side, with paired tests over videos."),
    "search": ("ophclip.cli.search:search", "Find moments in silent video by text."),
    "bench": ("ophclip.cli.bench:bench", "Time the kernels beside their peers on this machine."),
    "doctor": ("ophclip.cli.doctor:doctor", "What this machine has, and what is missing on it."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ophclip")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def ophclip(debug: bool) -> None:
    """Vision-language pretraining for eye surgery: corpus, cache, pretraining, evaluation, search."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code (see `ophclip.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = ophclip.main(args=arguments, prog_name="ophclip", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is still our error to handle
        return code if isinstance(code, int) else EXIT_OK
    except BrokenPipeError:
        _drop_output()
        return EXIT_ERROR
    except (KeyboardInterrupt, click.Abort):
        console.report_error("interrupted", "run the same command again to go on; pretrain needs --resume")
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    except click.ClickException as error:
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "ophclip"
        console.report_error(error.format_message(), f"see {hint} --help")
        return EXIT_USAGE
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)


def _explain(error: Exception) -> int:
    if isinstance(error, OphclipError):
        console.report_error(error.message, error.remedy)
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "check that path, its permissions and the free space"
        console.report_error(f"{error.filename}: {error.strerror}", remedy)
    else:
        console.report_error(f"{type(error).__name__}: {error}", "run again with --debug for the traceback")
    return EXIT_ERROR


def _drop_output() -> None:
    """Send what is left of stdout nowhere: Python would flush it on exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
