"""What comes in: usage files and reference files, and the checks of every row."""
