"""Training: Lightning modules and resumable fits, the feature cache, converged probes, and the frozen network itself.

`pretrained` makes or checks the frozen network. `cache` keeps its anchors on disk, and `resonance_module` trains
couplings from them; `distill_module`, `classifier_module` and `finetune_module` train the rest, all through `fit`.
`probe` fits a linear probe to convergence, on what `pooled_features` reads. Most of these load Lightning, which takes
seconds, so they are imported by name where they are needed, and this index is empty.
"""
