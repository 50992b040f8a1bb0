"""How the service compares with others under the same load: `make bench`, `python -m benchmarks.serving`."""
