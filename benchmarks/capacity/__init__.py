"""Capacity: what a core answers, a simulation made of that, and how many replicas a load needs."""
