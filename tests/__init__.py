"""A package and not just a folder: otherwise a stray `tests` among the installed packages would be found in its place."""
