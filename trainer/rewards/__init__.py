"""Rewards: functions of a prompt group, combined by weights that may change during a stage.

types           what a reward is: a function of `trainer.completion.Completion`s
terms           what a term of the sum is, with its range; ranges of custom functions
correctness, equivalence, format, language, length, repetition
                the terms that come with the package, by name
learned         the score of a reward model
scorer, reading a reward model at work, and what it reads of a finished reply
judge, verdicts what a judge at an endpoint says: how it is asked, and how its verdict is read
custom          those of users, by import path
weights         a term's weight at a step; that no wrong reply can beat a right one
reward_set      the sum
"""

from trainer.rewards.reward_set import RewardSet, build_rewards, stage_rewards
from trainer.rewards.terms import bounded
from trainer.rewards.types import Reward, Scored

__all__ = ["Reward", "RewardSet", "Scored", "bounded", "build_rewards", "stage_rewards"]
