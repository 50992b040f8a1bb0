"""Serve TorchScript image classifiers, and the arithmetic of convolution, over HTTP."""
