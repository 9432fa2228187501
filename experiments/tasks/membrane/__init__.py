"""Dense output: membranes in electron microscopy."""
