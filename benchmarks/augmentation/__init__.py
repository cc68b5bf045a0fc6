"""`make bench-augmentation`: a derivation beside the engine alone, beside plain loops, and its near duplicates beside datasketch.

On one machine in one run; contenders are processes of their own and take turns, as in `benchmarks.inference`, and what is reported
are ratios of neighbouring turns. No turn asks what an earlier one asked: the platform would serve it from its store.
"""
