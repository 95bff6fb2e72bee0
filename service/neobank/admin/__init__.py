"""What organisers do: players, money, factions, switches. Each action and its audit row commit together."""
