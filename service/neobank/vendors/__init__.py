"""Vendors: terminals with keys, which pay, or ask players to pay."""
