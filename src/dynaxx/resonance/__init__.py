"""Cross-layer resonance: a few layers of a frozen network exchange messages until they agree.

    c_lk ← (1-λ) c_lk + λ g_lk φ( V_lkᵀ y_k + b_lk )       the message from tap k to tap l
    y_k  =  y_k⁰ + α s Σ_{j≠k} U_kj c_kj                   what tap k holds, in standard deviations
    x_l  =  x_l⁰ + s σ_l Σ_{k≠l} U_lk c_lk                 what the rest of the network reads at tap l

Symbols, their meaning, and the module of this package (or the package) that has them:

    x_l⁰        anchor: activation of tap l in a plain forward pass      anchors
    y_k⁰        (P x_k⁰ - μ_k) / σ_k: pooled onto the grid, standardised standardise
    P, Up       to the grid and back; what a tap is                      dynaxx.grid
    V_lk, U_lk  the coupling C_lk of rank r: it reads tap k, writes tap l couplings
    φ           act(h + D * h), D a depthwise kernel                     bottleneck
    g_lk        gate, 1 by default                                       gates
    k           tap, or source: an input of the call, read, not written  anchors
    λ, T        damping, number of iterations                            fixed_point
    s, α        strength (warmed up in training), feedback gain          exchange

Read `reference` first: the formula letter by letter, on full activations. `exchange` is the same in message space,
which is exact and costs O(r²) per position and iteration. Then `couplings`, `bottleneck`, `gates`, `anchors` and
`standardise` for the parts; `anchored` and `reentrant` for the two dynamics, which `loop` describes; `student` for the
one-pass prediction of the end; `resonator`, which puts them together; and `output` for what it returns.
"""

from dynaxx.resonance.anchored import Anchored as Anchored
from dynaxx.resonance.anchors import Anchors as Anchors, Source as Source, finite as finite
from dynaxx.resonance.bottleneck import ACTIVATIONS as ACTIVATIONS
from dynaxx.resonance.couplings import Pair as Pair, live_pairs as live_pairs
from dynaxx.resonance.exchange import Exchange as Exchange
from dynaxx.resonance.gates import GATES as GATES
from dynaxx.resonance.output import ResonanceOutput as ResonanceOutput, Trace as Trace
from dynaxx.resonance.reentrant import Segment as Segment
from dynaxx.resonance.reference import resonate as resonate
from dynaxx.resonance.resonator import Resonator as Resonator
from dynaxx.resonance.student import Student as Student
