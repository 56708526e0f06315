"""``python -m axk1``: the same as the command ``axk1``."""

from axk1.cli import main

main()
