"""The programs behind the Makefile, each run as `python -m tools.NAME` from the top of the checkout."""
