"""`make bench`: the speed of the bank on this machine, as ratios to pgbench, PostgreSQL's own benchmark."""
