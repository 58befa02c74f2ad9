"""The steps of the work, one file each: the only place where the rules meet what is kept.

A step takes plain arguments and gives a small summary; run twice, or killed at any instant and run again, it
leaves the same state. DAGs and the command call the same functions.
"""
