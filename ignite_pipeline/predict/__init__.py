"""Answers of a trained model: what a checkpoint, or an exported program, says about images."""
