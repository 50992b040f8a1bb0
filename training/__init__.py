"""Fit an image classifier offline and export it as one TorchScript file that the service loads."""
