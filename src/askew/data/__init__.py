"""Source -> sample -> views -> batch."""
