"""Studies that train on validation data alone: tuning, label curve, size curve, trials of a sweep."""
