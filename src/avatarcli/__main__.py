"""The `avatar` command, also as `python -m avatarcli`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it in silence also while its modules are still being loaded."""
    try:
        from avatarcli.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
