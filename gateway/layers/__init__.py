"""The layers around an upstream's Call: one file each, together with its Policy.

Outermost first::

    cache -> collapse -> deadline -> retry | hedge -> breaker -> cooldown -> limiter -> timeout
        -> announce -> observe -> transport

Each factory takes its Policy and returns a `Layer`; a layer that is not configured is left out.
Layers never import each other. `budget` and `gradient` are not layers: they hold the arithmetic
that layers use.
"""
