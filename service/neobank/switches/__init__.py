"""Switches that organisers set during the event: whether money may move, and who may register."""
