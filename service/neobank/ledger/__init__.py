"""The heart of the bank: accounts, transfers between them, and the balances that follow. Nothing here knows the web."""
