"""Problem sets of the course: one source notebook a problem, from which the learner's notebook is derived."""
