"""Shards -> checkpoints: pre-training and fine-tuning, on one device or under ``torchrun``."""
