"""What organisers did: a chain of rows that nobody can change unseen."""
