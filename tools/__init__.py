"""The programs that the Makefile calls. Each runs as `python -m tools.NAME` from the top of the checkout."""
