"""The DVC stages, one thin file per stage: read params, call dynaxx, write results."""
