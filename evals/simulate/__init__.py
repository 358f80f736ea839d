"""Planning: what budgets, KV memory and replicas a load needs, simulated step by step from step times."""
