"""Payments between players: the routes for paying, history and search."""
