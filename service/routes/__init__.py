"""The endpoints: each handler checks, calls one function and wraps."""
