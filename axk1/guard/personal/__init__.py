"""How personal data are written, in Korea and in English: patterns, check digits, and the words around them."""
