"""python -m tests.slow_model SCENARIO --out FOLDER: run a scenario folder and write its outputs as CSV files."""

import argparse
import sys

from .model import run
from .outputs import write_tables


def main(arguments=None):
    """Run one scenario."""
    parser = argparse.ArgumentParser(prog="python -m tests.slow_model", description=__doc__)
    parser.add_argument("scenario", help="a folder with steps.json")
    parser.add_argument("--out", required=True, help="the folder to write the outputs to")
    options = parser.parse_args(arguments)
    write_tables(run(options.scenario), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
