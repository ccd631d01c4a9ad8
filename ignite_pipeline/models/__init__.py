"""Models, as plain ``nn.Module`` objects."""
