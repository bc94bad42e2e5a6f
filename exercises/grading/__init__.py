"""Grading of submitted notebooks: ``python -m exercises.grading SUBMITTED --out OUT``."""
