"""The command line: `holdfast run`, `db`, `status`, `demo`.

Every command imports what it needs when it runs, so that `holdfast --help` answers at once.
"""


def main() -> None:
    """The console script. Exits with a code of `exits.Exit`."""
    import sys

    from .commands import execute

    sys.exit(execute(sys.argv[1:]))
