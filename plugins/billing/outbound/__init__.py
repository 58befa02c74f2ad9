"""What leaves: the output tables."""
