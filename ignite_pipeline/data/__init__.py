"""Data sets, the endless loader, and transforms of whole batches."""
