"""The competitors of an A/B evaluation, each its own small file behind one call (docs/pipeline.md#arms).

`train(task, seed, out, checkpoints, logger)` trains one arm of one seed into the folder `out`; `facts.load_arm` makes a
model of it again. What training needs is imported where it is needed: judging arms does not load Lightning.
"""
