"""Predictions of a trained model, from a checkpoint or an exported program."""
