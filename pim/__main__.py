"""`python -m pim`, and the command `pim`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line with the arguments of the process; returns the exit code."""
    from pim.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
