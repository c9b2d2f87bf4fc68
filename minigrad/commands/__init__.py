"""The commands of `minigrad`, one or a few related ones per file. Each file has `add`, which declares the options, and
functions that take the parsed options and return the exit code; minigrad/cli.py puts them together."""
