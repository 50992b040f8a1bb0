"""The arithmetic of a convolutional layer: pure functions on float64 arrays, no HTTP."""
