"""``python -m distfd`` is the command ``distfd``."""

from distfd.cli import main

if __name__ == "__main__":
    main()
