"""What every recipe stands on."""
