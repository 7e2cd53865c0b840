"""The layers around an upstream's Call: one file each, together with its Policy.

Outermost first::

    cache -> collapse -> fill -> deadline -> retry -> hedge -> breaker -> cooldown -> concurrency
        -> observe -> timeout -> wire

Each factory takes its Policy and the `LayerContext`, and returns a `Layer`; a layer that is not
configured is left out. Most layers are gates, which `passage` drives without a task. Layers never
import each other. `context`, `passage`, `budget` and `gradient` are not layers: they hold what
layers share, and the arithmetic that they use.
"""
