"""The serving tests' client of the session's server."""

from tests.serve.conftest import ask, questions

__all__ = ["ask", "questions"]
