"""Vendors: their terminals, which have API keys, make payments and create charges for players."""
