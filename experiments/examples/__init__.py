"""Small models that use the library, each a program to copy from."""
