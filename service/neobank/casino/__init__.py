"""The casino: games as data, one engine that plays them, exact mathematics, rounds that anybody can check."""
