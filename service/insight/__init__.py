"""Look inside a network: its layers and their feature maps, one cell's arithmetic, what a class is seen in."""
