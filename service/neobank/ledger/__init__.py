"""Accounts, transfers between them, and balances. This package does not depend on Flask or any feature."""
