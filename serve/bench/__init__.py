"""Benchmarks of the server: `throughput` against plain vLLM."""
