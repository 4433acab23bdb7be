"""What strings commands together."""
