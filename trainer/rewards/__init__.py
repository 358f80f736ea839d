"""Rewards: functions of a prompt group, combined by weights that may change during a stage."""
