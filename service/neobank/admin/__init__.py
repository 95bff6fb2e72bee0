"""What organisers do: players, money, factions, switches, games. Each action commits together with its audit row."""
