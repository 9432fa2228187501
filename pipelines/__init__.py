"""One thin file a DVC stage: read params, call dynaxx, write results."""
