"""The command line: reading configs, checking them, launching runs."""
