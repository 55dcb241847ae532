"""`python -m avatarcli`: the same as the `avatar` command."""

from avatarcli.cli.main import main

if __name__ == "__main__":
    main()
