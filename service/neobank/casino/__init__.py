"""The casino: games as data, one engine for all of them, exact returns, and rounds that anyone can verify."""
