"""Log lines, the metrics of the serving processes, and the figures of the books."""
