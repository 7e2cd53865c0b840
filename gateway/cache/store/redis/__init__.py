"""The shared store. The only package that imports redis and aiocache."""
