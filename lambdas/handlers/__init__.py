"""The functions: one module for each, named as the function is in AWS. Each parses, calls and answers."""
