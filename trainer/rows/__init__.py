"""Rows of supervised fine-tuning: prompts, replies, branches, masks."""
