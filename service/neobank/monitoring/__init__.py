"""What the bank tells of itself: log lines, the metrics of its serving processes, and the figures of its books."""
