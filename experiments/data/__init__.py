"""Data sets: read, verified, split and binarised."""
