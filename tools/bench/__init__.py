"""`make bench`: how fast the bank is on this machine, as ratios to what PostgreSQL's own benchmark makes of it."""
