"""Published numbers, the runs that reproduce them, their records and tables."""
