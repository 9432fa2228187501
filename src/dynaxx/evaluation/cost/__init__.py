"""What an arm costs: latency, floating-point operations, memory."""
