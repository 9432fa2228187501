"""The user's network: layer names, captured taps, tokens, traced graph, new head."""
