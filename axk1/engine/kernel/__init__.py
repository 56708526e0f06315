"""The compiled kernel: products with few rows, and whole passes of a network over the paged cache in one call."""
