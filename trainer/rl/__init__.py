"""Reinforcement learning on groups of rollouts, with modes and thinking budgets.

sampling        which problems a step asks
prompts         how a group asks: mode, flags, earlier turns
budgets         a group's thinking budget
groups          groups in flight and finished
rollout_step    a step's rollouts and rewards, refill and partial rollouts
batches         rows, minibatches, micro-batches
policy          log-probabilities of sampled tokens
update          a step's optimizer updates
metrics         what a step logs
evaluation      held-out accuracy while it trains
collapse        alarms
state           training state on disk
loop            all of it
"""

from trainer.rl.collapse import CollapseError
from trainer.rl.loop import run_stage

__all__ = ["CollapseError", "run_stage"]
