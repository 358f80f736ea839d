"""What every section of a recipe is: typed, closed to unknown members, and unchangeable once read."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the recipe's TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
