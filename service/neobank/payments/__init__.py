"""Payments between players, as they see them."""
