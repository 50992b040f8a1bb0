"""Look inside a network: its layers and their feature maps, a cell's arithmetic, where a class is seen."""
