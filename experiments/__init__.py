"""Experiments: each turns a config into a run. The library is `gumbel`."""
