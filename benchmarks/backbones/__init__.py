"""A matrix of backbones: small networks of many families, each put through the same checks.

`python -m benchmarks.backbones` runs it. `entry` says what a backbone is here; `torchvision_nets`, `timm_nets`,
`hugging_face` and `plain_nets` list them, and `registry` has them by name. `checks` holds the checks, and `page` writes
docs/results/backbones.md.
"""
