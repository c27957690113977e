"""The systems that are measured, one file each; `benchmarks._systems` names them."""
