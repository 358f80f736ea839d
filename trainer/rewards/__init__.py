"""Rewards: functions of a prompt group, combined by weights that may change during a stage.

types           what a reward sees, and what it is
terms           what a term of the sum is, with its range; ranges of custom functions
correctness, format, language, length, repetition
                the terms that come with the package, by name
custom          those of users, by import path
weights         a term's weight at a step; that no wrong reply can beat a right one
reward_set      the sum
"""

from trainer.rewards.reward_set import RewardSet, build_rewards
from trainer.rewards.terms import bounded
from trainer.rewards.types import Completion, Reward, Scored

__all__ = ["Completion", "Reward", "RewardSet", "Scored", "bounded", "build_rewards"]
