"""Curation: from sources to the problems worth training on, with what was left out and why.

Each filter is a file: `decontaminate`, `duplicates`, `forms`, `verifiable`, `balance`, `curriculum`, and
those that ask a model, `difficulty`, `guessable`, `lucky`. `pipeline` runs the steps of a curation file.
"""
