"""``python -m distfd`` is the command ``distfd``."""

from distfd.cli.commands import main

if __name__ == "__main__":
    main()
