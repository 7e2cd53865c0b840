"""Value types that the whole gateway uses: the base model, durations, sizes, content types."""
