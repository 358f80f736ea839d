"""Makes fused think / no_think checkpoints."""
