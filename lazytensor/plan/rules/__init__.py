"""The laws of the optimizer, a module for each family; ``passes`` has all of them in order."""
