"""What `/convolve` and `/pool` are sent and answer: bytes to arrays, and back."""
