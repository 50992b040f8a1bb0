"""What Ray Serve costs beside plain uvicorn."""
