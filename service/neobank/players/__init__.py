"""Players: their names, passwords and profiles, and the first administrator."""
