"""From an issued invoice to its money (rule 6.5), in parts; ``steps/collect.py`` puts them together."""
