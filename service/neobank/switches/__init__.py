"""What the organisers switch while the event runs: money on or off, who may join."""
