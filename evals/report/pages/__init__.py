"""The pages' template, styles and scripts, and what puts them together."""
