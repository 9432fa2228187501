"""The feature cache: activations of the tapped layers, written to disk once and read by every stage."""
