"""The Flax networks of the three experiments."""
