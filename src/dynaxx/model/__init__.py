"""What users hold: the resonant model, its adapters, saving, calibration, inspection."""
