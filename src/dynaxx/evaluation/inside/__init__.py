"""What goes on inside the resonant model: which couplings matter, what the taps tell each other, where it looks."""
