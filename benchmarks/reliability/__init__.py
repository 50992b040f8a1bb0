"""What the service withstands: overload, a long soak, faults. Commands: `python -m benchmarks.reliability`."""
