"""A GPU that is not there: PyTorch's fake tensors on the device "cuda", in a build without CUDA.

Fake tensors have shapes, types and devices, and no numbers: where two devices meet, or a step asks for a number,
PyTorch raises an error, as a GPU would raise one or wait. `guard.cpp` is what a build without CUDA lacks for that.
"""
