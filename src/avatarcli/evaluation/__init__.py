"""How good avatars are: benchmarks, metrics and the report."""
