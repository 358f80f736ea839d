"""Rollouts: replies sampled from the policy, by the engine that serves it, budgets cut to the token."""
