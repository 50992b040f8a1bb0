"""The Open Inference Protocol's tensors: requests read, answers written. No routes here."""
