"""Examples: the library in small models of one's own, each a file to copy from."""
