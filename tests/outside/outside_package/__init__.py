"""A package that uses `sali` from outside: options that no file of `sali` names."""
