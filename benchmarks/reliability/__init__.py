"""What the service withstands: overload, a long soak, faults. See `python -m benchmarks.reliability`."""
