"""The configs of the experiments: get_config(variant), a comment a field."""
