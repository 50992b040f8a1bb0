"""The Open Inference Protocol's tensors: requests read, answers written. Nothing here knows HTTP."""
