"""A model -> the forms that devices and other programs run, each held against the original."""
