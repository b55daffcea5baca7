"""One file per schema; the number in its name is the schema that it leads to."""
