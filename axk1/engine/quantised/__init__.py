"""Weights of 16, 8 or 4 bits, applied to a network from outside and multiplied with by ``engine/kernel``."""
