"""The commands of `schoolpulse`: one file each, found by its name."""
