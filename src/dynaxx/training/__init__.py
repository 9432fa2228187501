"""Training: Lightning modules and resumable fits, the feature cache, converged probes, and the frozen network itself.

`pretrained` trains the frozen network or checks the user's own. `cache` stores the activations of its tapped layers on
disk, and `resonance_module` trains couplings from these activations. `distill_module`, `classifier_module` and
`finetune_module` train the other networks. All training runs through `fit`. `probe` fits a linear probe to convergence
on the features of `pooled_features`. Importing Lightning takes seconds, so this package imports no module by itself.
"""
