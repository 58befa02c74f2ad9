"""The groups of the command ``billing``: a file a group. Arguments in, one step called, what came of it said."""
