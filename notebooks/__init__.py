"""The lessons as notebooks: text sources in src/, executed notebooks beside this file, and what builds one from the other."""
