"""NeoBank: the in-game bank and casino of a live-action role-play event."""
