"""Weights of 16, 8 or 4 bits, applied to a network from outside, and the compiled kernel that multiplies with them."""
