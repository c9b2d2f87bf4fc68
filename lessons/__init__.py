"""The lessons: one folder each, with the exercises, their checks, and the wrong answers on which the checks are tested."""
