"""The layers around an upstream's Call; one file each, its Policy beside it.

Outermost first::

    cache -> collapse -> deadline -> retry | hedge -> breaker -> cooldown -> limiter -> timeout
        -> announce -> observe -> transport

Every maker takes its Policy and returns a `Layer`; what is not configured is not stacked. Layers
never import each other. `budget` and `gradient` are no layers: they hold the arithmetic that layers
are given or use.
"""
