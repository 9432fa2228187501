"""Networks, stores and servers that several tests use."""
