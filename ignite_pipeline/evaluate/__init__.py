"""What a trained model gets right, and where it errs."""
