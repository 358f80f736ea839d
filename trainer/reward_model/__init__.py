"""Reward models: a score for a reply, learnt from which of two replies is better.

noise       pairs whose preference is turned around
model       the model that is trained: a policy's layers and a head of one score
trainer     TRL's reward trainer on weighted pairs
held_out    how often the better reply of a pair scores higher
stage       all of it
"""
