"""c = F(c): find it, differentiate it, bound it."""
